/* SPDX-License-Identifier: BSD-2-Clause */
#include "auth/cyrus_server.h"

#include "base/log.h"
#include "base/mem.h"
#include "sasl/mechs.h"

#include <pthread.h>
#include <sasl/sasl.h>

enum { LOG_MAX = 2000, NAME_MAX_OCTETS = 255 };

struct cyrus_login {
	sasl_conn_t *conn;
	sasl_callback_t callbacks[2];
	struct buf log;
};

/* libsasl2's own log lines; with a login they wait for the loop, which writes the log. Never a password: SASL_LOG_PASS is left out. */
static int
on_log(void *context, int level, const char *message)
{
	struct buf *log = context;
	static const struct log_ctx smtpd = { .service = "smtpd" };
	const char *kind = level == SASL_LOG_ERR ? "problem" : "failure";
	if ((level != SASL_LOG_ERR && level != SASL_LOG_FAIL) || message == NULL || message[0] == '\0')
		return SASL_OK;
	if (log == NULL) {
		log_warn(&smtpd, "SASL authentication %s: %.300s", kind, message);
		return SASL_OK;
	}
	buf_printf(log, "SASL authentication %s: %.300s\n", kind, message);
	return SASL_OK;
}

/* ---- its locks ---- */

static void *
lock_new(void)
{
	pthread_mutex_t *m = mem_alloc(sizeof *m);
	pthread_mutex_init(m, NULL);
	return m;
}

static int
lock_take(void *m)
{
	return pthread_mutex_lock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static int
lock_give(void *m)
{
	return pthread_mutex_unlock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static void
lock_free(void *m)
{
	if (m == NULL)
		return;
	pthread_mutex_destroy(m);
	mem_free(&m);
}

typedef int (*any_fn)(void);

enum rc
cyrus_server_init(const char *application, const char *directories, struct err *e)
{
	static sasl_callback_t callbacks[2];
	static char path[4096];
	callbacks[0] = (sasl_callback_t){ SASL_CB_LOG, (any_fn)(void (*)(void))on_log, NULL };
	callbacks[1] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	if (strlen(directories) >= sizeof path)
		return err_set(e, RC_PERM, "cyrus_sasl_config_path: too long");
	memcpy(path, directories, strlen(directories) + 1);
	sasl_set_mutex(lock_new, lock_take, lock_give, lock_free);
	int rc = sasl_set_path(SASL_PATH_TYPE_CONFIG, path);
	if (rc == SASL_OK)
		rc = sasl_server_init(callbacks, application);
	return rc == SASL_OK ? RC_OK : err_set(e, RC_PERM, "SASL per-process initialization failed: %s", sasl_errstring(rc, NULL, NULL));
}

bool
cyrus_server_provides(struct span mech)
{
	const char **names = sasl_global_listmech();
	for (size_t i = 0; names != NULL && names[i] != NULL; i++)
		if (span_caseeq_str(mech, names[i]))
			return true;
	return false;
}

/* ---- a login ---- */

static unsigned
security_flags(uint32_t options)
{
	static const struct {
		unsigned option, flag;
	} rows[] = {
		{ SASL_OPT_NOANONYMOUS, SASL_SEC_NOANONYMOUS }, { SASL_OPT_NOPLAINTEXT, SASL_SEC_NOPLAINTEXT }, { SASL_OPT_NODICTIONARY, SASL_SEC_NODICTIONARY },
		{ SASL_OPT_NOACTIVE, SASL_SEC_NOACTIVE }, { SASL_OPT_FORWARD_SECRECY, SASL_SEC_FORWARD_SECRECY }, { SASL_OPT_MUTUAL_AUTH, SASL_SEC_MUTUAL_AUTH },
	};
	unsigned flags = 0;
	for (size_t i = 0; i < NELEMS(rows); i++)
		if ((options & rows[i].option) != 0)
			flags |= rows[i].flag;
	return flags;
}

/* No NUL is inside: msgs.c looked. */
static char *
cstr(struct span s)
{
	char *p = mem_zalloc(s.n + 1);
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return p;
}

static int
open_conn(struct cyrus_login *l, const struct msg_auth_mechs *of)
{
	char *service = cstr(of->service), *host = cstr(of->host), *realm = cstr(of->realm);
	int rc = sasl_server_new(service, host, realm[0] != '\0' ? realm : NULL, NULL, NULL, l->callbacks, 0, &l->conn);
	mem_free(&service);
	mem_free(&host);
	mem_free(&realm);
	if (rc != SASL_OK)
		return rc;
	sasl_security_properties_t props = { .min_ssf = 0, .max_ssf = 0, .maxbufsize = 0, .security_flags = security_flags(of->options) };
	return sasl_setprop(l->conn, SASL_SEC_PROPS, &props);
}

struct cyrus_login *
cyrus_login_new(const struct msg_auth_mechs *of, struct err *e)
{
	struct cyrus_login *l = mem_zalloc(sizeof *l);
	buf_init(&l->log, LOG_MAX);
	l->callbacks[0] = (sasl_callback_t){ SASL_CB_LOG, (any_fn)(void (*)(void))on_log, &l->log };
	l->callbacks[1] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	int rc = open_conn(l, of);
	if (rc != SASL_OK) {
		(void)err_set(e, RC_TEMP, "SASL per-connection initialization: %s", sasl_errstring(rc, NULL, NULL));
		cyrus_login_free(&l);
	}
	return l;
}

void
cyrus_login_free(struct cyrus_login **lp)
{
	struct cyrus_login *l = *lp;
	*lp = NULL;
	if (l == NULL)
		return;
	if (l->conn != NULL)
		sasl_dispose(&l->conn);
	buf_fini(&l->log);
	mem_free(&l);
}

struct buf *
cyrus_login_log(struct cyrus_login *l)
{
	return &l->log;
}

/* What is not the client's fault: he should try again. */
static bool
is_ours(int rc)
{
	return rc == SASL_TRYAGAIN || rc == SASL_UNAVAIL || rc == SASL_FAIL || rc == SASL_NOMEM || rc == SASL_NOTINIT || rc == SASL_BADVERS;
}

static enum auth_outcome
outcome(struct cyrus_login *l, int rc, const char *out, unsigned n, struct buf *text, struct buf *user)
{
	const void *name = NULL;
	if (rc == SASL_CONTINUE) {
		buf_put(text, span_of(out, out != NULL ? n : 0));
		return text->over ? AUTH_NOT_NOW : AUTH_GOES_ON;
	}
	/* after a failure: who it was said to be */
	struct span s = sasl_getprop(l->conn, SASL_USERNAME, &name) == SASL_OK ? span_str(name) : SPAN_EMPTY;
	bool is_fine = s.n > 0 && s.n <= NAME_MAX_OCTETS && span_is_printable(s) && span_is_utf8(s);
	if (is_fine)
		buf_put(user, s);
	if (rc == SASL_OK && is_fine)
		return AUTH_DONE;
	if (rc == SASL_OK)
		rc = SASL_BADAUTH;
	if (rc == SASL_NOUSER) /* nobody is told who is there */
		rc = SASL_BADAUTH;
	buf_puts(text, sasl_errstring(rc, NULL, NULL));
	return is_ours(rc) ? AUTH_NOT_NOW : AUTH_FAILED;
}

enum auth_outcome
cyrus_login_begin(struct cyrus_login *l, const char *mech, bool has_initial, struct span initial, struct buf *text, struct buf *user)
{
	const char *out = NULL;
	unsigned n = 0;
	const char *in = !has_initial ? NULL : initial.n > 0 ? (const char *)initial.p : "";
	int rc = sasl_server_start(l->conn, mech, in, (unsigned)initial.n, &out, &n);
	return outcome(l, rc, out, n, text, user);
}

enum auth_outcome
cyrus_login_step(struct cyrus_login *l, struct span response, struct buf *text, struct buf *user)
{
	const char *out = NULL;
	unsigned n = 0;
	int rc = sasl_server_step(l->conn, response.n > 0 ? (const char *)response.p : "", (unsigned)response.n, &out, &n);
	return outcome(l, rc, out, n, text, user);
}

enum rc
cyrus_server_mechs(const struct msg_auth_mechs *of, struct buf *out, struct err *e)
{
	struct cyrus_login *l = cyrus_login_new(of, e);
	const char *names = NULL;
	unsigned n = 0;
	if (l == NULL)
		return RC_TEMP;
	int rc = sasl_listmech(l->conn, NULL, "", " ", "", &names, &n, NULL);
	if (rc == SASL_OK)
		buf_put(out, span_of(names, n));
	cyrus_login_free(&l);
	return rc == SASL_OK || rc == SASL_NOMECH ? RC_OK : err_set(e, RC_TEMP, "%s", sasl_errstring(rc, NULL, NULL));
}

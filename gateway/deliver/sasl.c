/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/sasl.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "deliver/oauth.h"

#include <sasl/sasl.h>
#include <sasl/saslutil.h>

enum { CALLBACKS = 5 };

struct sasl {
	struct sasl_request r;
	sasl_conn_t *conn;           /* NULL: one of ours */
	enum oauth oauth;
	sasl_secret_t *secret;
	sasl_callback_t callbacks[CALLBACKS];
	char mech[SASL_MECHNAMEMAX + 1];
	bool is_scram, is_complete;
	unsigned rounds;
	struct buf remark;
};

static struct {
	bool is_tried, is_ready;
	char why[200];
	char plugins[512];
	const struct log_ctx *log;
} library;

/* ---- libsasl2's callbacks ---- */

/* The library draws its nonces from a generator that it seeds from /dev/urandom, and from the clock where there is
 * none, as behind a chroot. It finds this function in the place of its own. */
void
sasl_rand(sasl_rand_t *pool, char *out, unsigned len)
{
	(void)pool;
	rand_bytes(out, len);
}

static int
on_log(void *context, int level, const char *message)
{
	(void)context;
	/* never the levels that trace passwords */
	if (level == SASL_LOG_ERR || level == SASL_LOG_WARN)
		log_warn(library.log, "SASL authentication problem: %s", message);
	else if (level == SASL_LOG_FAIL)
		log_warn(library.log, "SASL authentication failure: %s", message);
	return SASL_OK;
}

static int
on_simple(void *context, int id, const char **result, unsigned *len)
{
	const struct sasl *s = context;
	*result = id == SASL_CB_USER && !s->r.send_authzid ? "" : s->r.login->user;
	if (len != NULL)
		*len = (unsigned)strlen(*result);
	return SASL_OK;
}

static int
on_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **out)
{
	struct sasl *s = context;
	(void)id;
	if (conn == NULL || out == NULL)
		return SASL_BADPARAM;
	*out = s->secret;
	return SASL_OK;
}

static int
on_realm(void *context, int id, const char **available, const char **result)
{
	(void)context, (void)id;
	*result = available != NULL && available[0] != NULL ? available[0] : "";
	return SASL_OK;
}

typedef void any_fn(void);
typedef int callback_fn(void);

static callback_fn *
callback(any_fn *fn)
{
	return (callback_fn *)fn;
}

static int open_conn(struct sasl *s);

/* ---- once ---- */

/* Those that take what we can give them: a name and a password. */
static void
list_plugins(void)
{
	struct sasl s = { .r.service = "smtp", .r.host = "localhost" };
	const char *list = NULL;
	if (open_conn(&s) == SASL_OK && sasl_listmech(s.conn, NULL, "", " ", "", &list, NULL, NULL) == SASL_OK && list != NULL)
		snprintf(library.plugins, sizeof library.plugins, "%s", list);
	sasl_dispose(&s.conn);
}

enum rc
sasl_setup(const struct log_ctx *log, struct err *e)
{
	static sasl_callback_t global[] = { { SASL_CB_LOG, NULL, NULL }, { SASL_CB_LIST_END, NULL, NULL } };
	if (!library.is_tried) {
		library.is_tried = true;
		library.log = log;
		global[0].proc = callback((any_fn *)on_log);
		int r = sasl_client_init(global);
		library.is_ready = r == SASL_OK;
		if (library.is_ready)
			list_plugins();
		else
			snprintf(library.why, sizeof library.why, "libsasl2: %s", sasl_errstring(r, NULL, NULL));
	}
	return library.is_ready ? RC_OK : err_set(e, RC_TEMP, "%s", library.why);
}

const char *
sasl_plugins(void)
{
	return library.plugins;
}

/* ---- base64 ---- */

static void
put_base64(struct buf *out, struct span s)
{
	size_t need = (s.n + 2) / 3 * 4 + 1;
	unsigned len = 0;
	unsigned char *to = s.n > 0 ? buf_reserve(out, need) : NULL;
	if (to != NULL && sasl_encode64((const char *)s.p, (unsigned)s.n, (char *)to, (unsigned)need, &len) == SASL_OK)
		buf_commit(out, len);
}

static bool
get_base64(struct span s, struct buf *out)
{
	unsigned len = 0;
	if (s.n == 0 || span_eq_str(s, "="))
		return true;
	if (s.n > SASL_LINE_MAX)
		return false;
	unsigned char *to = buf_reserve(out, s.n + 1);
	if (to == NULL || sasl_decode64((const char *)s.p, (unsigned)s.n, (char *)to, (unsigned)s.n + 1, &len) != SASL_OK)
		return false;
	buf_commit(out, len);
	return true;
}

/* ---- one exchange ---- */

/* Postfix's words for what the library says. */
static const char *
explain(int r)
{
	switch (r) {
	case SASL_NOMECH: return "no mechanism available";
	case SASL_FAIL: return "generic failure";
	case SASL_NOMEM: return "out of memory";
	case SASL_BADPROT: return "bad protocol / cancel";
	case SASL_BADSERV: return "server failed mutual authentication step";
	case SASL_TOOWEAK: return "mechanism too weak for this user";
	case SASL_ENCRYPT: return "encryption needed to use mechanism";
	case SASL_UNAVAIL: return "remote authentication server unavailable";
	default: return sasl_errstring(r, NULL, NULL);
	}
}

/* A token is a password: whoever hears it has it. */
static bool
may_use_token(unsigned options)
{
	return (options & (SASL_NO_PLAINTEXT | SASL_MUTUAL_AUTH | SASL_FORWARD_SECRECY)) == 0;
}

static enum rc
begin_oauth(struct sasl *s, struct buf *first, struct err *e)
{
	struct buf plain;
	buf_init_secret(&plain, SASL_LINE_MAX);
	enum rc rc = oauth_first(s->oauth, span_str(s->r.login->user), span_str(s->r.login->secret), s->r.host, s->r.port, &plain, e);
	if (rc == RC_OK) {
		buf_puts(first, oauth_name(s->oauth));
		buf_putc(first, ' ');
		put_base64(first, buf_span(&plain));
	}
	snprintf(s->mech, sizeof s->mech, "%s", oauth_name(s->oauth));
	buf_fini(&plain);
	return rc == RC_OK ? RC_OK : RC_TEMP;
}

static int
open_conn(struct sasl *s)
{
	static const struct {
		unsigned ours, theirs;
	} flags[] = {
		{ SASL_NO_PLAINTEXT, SASL_SEC_NOPLAINTEXT }, { SASL_NO_ANONYMOUS, SASL_SEC_NOANONYMOUS }, { SASL_NO_ACTIVE, SASL_SEC_NOACTIVE },
		{ SASL_NO_DICTIONARY, SASL_SEC_NODICTIONARY }, { SASL_FORWARD_SECRECY, SASL_SEC_FORWARD_SECRECY },
		{ SASL_MUTUAL_AUTH, SASL_SEC_MUTUAL_AUTH },
	};
	sasl_callback_t *cb = s->callbacks;
	cb[0] = (sasl_callback_t){ SASL_CB_USER, callback((any_fn *)on_simple), s };
	cb[1] = (sasl_callback_t){ SASL_CB_AUTHNAME, callback((any_fn *)on_simple), s };
	cb[2] = (sasl_callback_t){ SASL_CB_PASS, callback((any_fn *)on_secret), s };
	cb[3] = (sasl_callback_t){ SASL_CB_GETREALM, callback((any_fn *)on_realm), s };
	cb[4] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	int r = sasl_client_new(s->r.service, s->r.host, NULL, NULL, cb, 0, &s->conn);
	if (r != SASL_OK)
		return r;
	sasl_security_properties_t props = { .max_ssf = 0 };
	for (size_t i = 0; i < NELEMS(flags); i++)
		if (s->r.options & flags[i].ours)
			props.security_flags |= flags[i].theirs;
	return sasl_setprop(s->conn, SASL_SEC_PROPS, &props);
}

static enum rc
begin_library(struct sasl *s, const char *mechs, struct buf *first, struct err *e)
{
	const char *out = NULL, *mech = NULL;
	unsigned len = 0;
	size_t n = strlen(s->r.login->secret);
	enum rc rc = sasl_setup(NULL, e);
	if (rc != RC_OK)
		return rc;
	s->secret = mem_zalloc(sizeof *s->secret + n + 1);
	s->secret->len = n;
	memcpy(s->secret->data, s->r.login->secret, n);
	int r = open_conn(s);
	if (r == SASL_OK)
		r = sasl_client_start(s->conn, mechs, NULL, &out, &len, &mech);
	if (r != SASL_OK && r != SASL_CONTINUE)
		return err_set(e, RC_TEMP, "%s", explain(r));
	s->is_complete = r == SASL_OK;
	snprintf(s->mech, sizeof s->mech, "%s", mech);
	s->is_scram = span_casestarts(span_str(mech), SPAN("SCRAM-"));
	buf_puts(first, mech);
	if (out != NULL) {
		buf_putc(first, ' ');
		if (len > 0)
			put_base64(first, span_of(out, len));
		else
			buf_putc(first, '='); /* RFC 4954 4: an initial response that is empty */
	}
	return RC_OK;
}

/* The mechanisms without those that carry a token. */
static char *
without_oauth(struct span mechs)
{
	struct buf b;
	buf_init(&b, SASL_LINE_MAX);
	for (struct span mech; span_word(&mechs, " \t", &mech);) {
		if (oauth_choose(mech) != OAUTH_NONE)
			continue;
		if (buf_len(&b) > 0)
			buf_putc(&b, ' ');
		buf_put(&b, mech);
	}
	char *s = mem_strdup(b.over ? "" : buf_cstr(&b));
	buf_fini(&b);
	return s;
}

enum rc
sasl_begin(struct sasl **out, const struct sasl_request *r, struct span mechs, struct buf *first, struct err *e)
{
	struct sasl *s = *out = mem_zalloc(sizeof *s);
	enum rc rc;
	s->r = *r;
	buf_init(&s->remark, SASL_LINE_MAX);
	char *ours = without_oauth(mechs);
	bool is_token = r->login->is_token || (ours[0] == '\0' && r->is_choice);
	if (is_token)
		s->oauth = may_use_token(r->options) ? oauth_choose(mechs) : OAUTH_NONE;
	if (s->oauth != OAUTH_NONE)
		rc = begin_oauth(s, first, e);
	else if (r->login->is_token)
		rc = err_set(e, RC_TEMP, "%s", explain(SASL_NOMECH));
	else
		rc = begin_library(s, ours, first, e);
	mem_free(&ours);
	if (rc == RC_OK && first->over)
		rc = err_set(e, RC_TEMP, "the response is too long");
	return rc;
}

uint64_t
scram_work(struct span message)
{
	for (struct span part; span_word(&message, ",", &part);) {
		uint64_t n;
		if (!span_starts(part, SPAN("i=")))
			continue;
		return span_u64(span_from(part, 2), UINT64_MAX, &n) ? n : UINT64_MAX;
	}
	return 0;
}

static enum rc
next_library(struct sasl *s, struct span challenge, struct buf *response, struct err *e)
{
	const char *out = NULL;
	unsigned len = 0;
	if (s->is_scram && scram_work(challenge) > SCRAM_WORK_MAX)
		return err_set(e, RC_PERM, "%s: the server asks for more than %u iterations", s->mech, SCRAM_WORK_MAX);
	if (s->is_complete)
		return challenge.n == 0 ? RC_OK : err_set(e, RC_PERM, "%s", explain(SASL_BADPROT));
	int r = sasl_client_step(s->conn, (const char *)challenge.p, (unsigned)challenge.n, NULL, &out, &len);
	if (r != SASL_OK && r != SASL_CONTINUE)
		return err_set(e, RC_PERM, "%s", explain(r));
	s->is_complete = r == SASL_OK;
	if (out != NULL && len > 0)
		put_base64(response, span_of(out, len));
	return RC_OK;
}

enum rc
sasl_next(struct sasl *s, struct span challenge, struct buf *response, struct err *e)
{
	struct buf plain;
	enum rc rc;
	buf_init_secret(&plain, SASL_LINE_MAX + 8);
	if (++s->rounds > SASL_ROUNDS_MAX) {
		rc = err_set(e, RC_PERM, "the server does not come to an end");
	} else if (!get_base64(span_trim(challenge), &plain)) {
		rc = err_set(e, RC_PERM, "%s", explain(SASL_BADPROT));
	} else if (s->oauth != OAUTH_NONE) {
		buf_reset(&s->remark);
		buf_put(&s->remark, buf_span(&plain));
		put_base64(response, oauth_last(s->oauth));
		rc = RC_OK;
	} else {
		rc = next_library(s, buf_span(&plain), response, e);
	}
	buf_fini(&plain);
	if (rc == RC_OK && response->over)
		rc = err_set(e, RC_PERM, "the response is too long");
	return rc;
}

bool
sasl_is_proved(const struct sasl *s)
{
	return (s->r.options & SASL_MUTUAL_AUTH) == 0 || s->is_complete;
}

struct span
sasl_remark(const struct sasl *s)
{
	return buf_span(&s->remark);
}

void
sasl_end(struct sasl **sp)
{
	struct sasl *s = *sp;
	*sp = NULL;
	if (s == NULL)
		return;
	sasl_dispose(&s->conn);
	if (s->secret != NULL)
		mem_wipe(s->secret->data, s->secret->len);
	mem_free(&s->secret);
	buf_fini(&s->remark);
	mem_free(&s);
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "sasl/cyrus_files.h"

#include "base/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* libsasl2's own, as Debian builds it */
static const char DEFAULT_DATABASE[] = "/etc/sasldb2", DEFAULT_SASLAUTHD[] = "/var/run/saslauthd/mux";

static size_t
key_length(struct span s)
{
	size_t n = 0;
	while (n < s.n && ((s.p[n] >= 'a' && s.p[n] <= 'z') || (s.p[n] >= 'A' && s.p[n] <= 'Z') || (s.p[n] >= '0' && s.p[n] <= '9') || s.p[n] == '-' || s.p[n] == '_'))
		n++;
	return n;
}

void
cyrus_settings_parse(struct span text, struct cyrus_settings *out)
{
	const struct {
		const char *name;
		struct span *value;
	} rows[] = {
		{ "pwcheck_method", &out->pwcheck_method }, { "auxprop_plugin", &out->auxprop_plugin }, { "sasldb_path", &out->sasldb_path },
		{ "saslauthd_path", &out->saslauthd_path }, { "mech_list", &out->mech_list },
	};
	*out = (struct cyrus_settings){ 0 };
	for (unsigned number = 1; text.n > 0; number++) {
		size_t lf = span_chr(text, '\n');
		struct span s = span_trim(span_head(text, lf));
		text = span_from(text, lf == SIZE_MAX ? text.n : lf + 1);
		if (s.n == 0 || s.p[0] == '#')
			continue;
		size_t n = key_length(s);
		struct span value = n < s.n ? span_trim(span_from(s, n + 1)) : SPAN_EMPTY;
		if (n == 0 || n == s.n || s.p[n] != ':' || value.n == 0) {
			out->bad_line = number;
			return;
		}
		for (size_t i = 0; i < NELEMS(rows); i++)
			if (rows[i].value->n == 0 && span_caseeq_str(span_head(s, n), rows[i].name))
				*rows[i].value = value;
	}
}

void
cyrus_directories(const struct conf *c, const struct params *p, struct buf *out)
{
	if (p->p_cyrus_sasl_config_path[0] != '\0')
		buf_puts(out, p->p_cyrus_sasl_config_path);
	else
		buf_printf(out, "%s/sasl:/etc/postfix/sasl:/etc/sasl2:/usr/lib/sasl2", conf_directory(c));
}

bool
cyrus_find_conf(const char *directories, const char *name, struct buf *path)
{
	struct span rest = span_str(directories), dir;
	struct stat st;
	while (span_word(&rest, ":", &dir)) {
		buf_reset(path);
		buf_put(path, dir);
		buf_printf(path, "/%s.conf", name);
		if (stat(buf_cstr(path), &st) == 0)
			return true;
	}
	buf_reset(path);
	return false;
}

/* ---- what is wrong ---- */

struct look {
	struct conf *c;
	const struct service *s;
	const char *file;            /* NAME.conf, or what stands for it */
	const char *user;
};

static bool
has_word(struct span list, const char *word)
{
	struct span w;
	while (span_word(&list, " \t,", &w))
		if (span_caseeq_str(w, word))
			return true;
	return false;
}

/* What the auth process will not be able to do with a file. */
static void
look_at(const struct look *l, struct span set, const char *def, const char *parameter, int mode, const char *advice)
{
	struct buf path;
	buf_init(&path, CYRUS_PATHS_MAX);
	if (set.n > 0)
		buf_put(&path, set);
	else
		buf_puts(&path, def);
	int err = rights_access(l->user, buf_cstr(&path), mode);
	if (err == ENOENT)
		conf_problem(l->c, CONF_WARNING, l->s, "smtpd_sasl_path", "%s: %s %s: %s: nobody can log in with it%s", l->file, parameter, buf_cstr(&path),
		    strerror(err), advice);
	else if (err != 0 && geteuid() == 0) /* else the gateway may be started by somebody who can */
		conf_problem(l->c, CONF_WARNING, l->s, "smtpd_sasl_path", "%s: %s %s: %s for auth_user %s: nobody can log in with it", l->file, parameter,
		    buf_cstr(&path), strerror(err), l->user);
	buf_fini(&path);
}

static void
look_at_methods(const struct look *l, const struct cyrus_settings *set)
{
	static const char *const known[] = { "auxprop", "auxprop-hashed", "saslauthd", "authdaemond", "pwcheck", "alwaystrue" };
	struct span rest = set->pwcheck_method.n > 0 ? set->pwcheck_method : SPAN("auxprop"), word;
	bool has_sasldb = set->auxprop_plugin.n == 0 || has_word(set->auxprop_plugin, "sasldb");
	while (span_word(&rest, " \t", &word)) {
		bool is_known = false;
		for (size_t i = 0; i < NELEMS(known); i++)
			is_known |= span_caseeq_str(word, known[i]);
		if (!is_known)
			conf_problem(l->c, CONF_WARNING, l->s, "smtpd_sasl_path", "%s: pwcheck_method: there is no \"%.*s\" (auxprop, saslauthd)", l->file,
			    (int)(word.n < 100 ? word.n : 100), (const char *)word.p);
		else if (span_caseeq_str(word, "saslauthd"))
			look_at(l, set->saslauthd_path, DEFAULT_SASLAUTHD, "saslauthd_path", W_OK, " before saslauthd runs");
		else if (span_caseeq_str(word, "auxprop") && has_sasldb)
			look_at(l, set->sasldb_path, DEFAULT_DATABASE, "sasldb_path", R_OK, " before saslpasswd2 has made a user");
	}
}

enum rc
cyrus_conf_read(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	unsigned char *p = fd >= 0 ? buf_reserve(out, CYRUS_CONF_MAX - 1) : NULL;
	ssize_t n = p != NULL ? read(fd, p, CYRUS_CONF_MAX - 1) : -1;
	if (n > 0)
		buf_commit(out, (size_t)n);
	if (fd >= 0)
		close(fd);
	return n >= 0 ? RC_OK : RC_TEMP;
}

static void
look_into(struct look *l, const char *path)
{
	struct cyrus_settings set = { 0 };
	struct buf text;
	int err = rights_access(l->user, path, R_OK);
	if (err != 0 && geteuid() == 0) {
		conf_problem(l->c, CONF_WARNING, l->s, "smtpd_sasl_path", "%s: %s for auth_user %s: it has no effect", path, strerror(err), l->user);
		return;
	}
	buf_init_secret(&text, CYRUS_CONF_MAX); /* passwords of databases may be in it */
	if (cyrus_conf_read(path, &text) == RC_OK) {
		cyrus_settings_parse(buf_span(&text), &set);
		l->file = path;
		if (set.bad_line > 0)
			conf_problem(l->c, CONF_ERROR, l->s, "smtpd_sasl_path", "%s: line %u is not \"key: value\": libsasl2 does not start with it", path, set.bad_line);
		else
			look_at_methods(l, &set);
	}
	buf_fini(&text);
}

void
cyrus_files_check(struct conf *c, const struct service *s)
{
	struct look l = { c, s, "libsasl2", conf_params(c)->p_auth_user };
	const char *name = s->params->p_smtpd_sasl_path;
	struct buf dirs, path;
	buf_init(&dirs, CYRUS_PATHS_MAX);
	buf_init(&path, CYRUS_PATHS_MAX);
	cyrus_directories(c, s->params, &dirs);
	if (cyrus_find_conf(buf_cstr(&dirs), name, &path))
		look_into(&l, buf_cstr(&path));
	else {
		conf_problem(c, CONF_WARNING, s, "smtpd_sasl_path", "smtpd_sasl_path = %s: there is no %s.conf in %s: libsasl2's defaults are in force", name, name,
		    buf_cstr(&dirs));
		look_at_methods(&l, &(struct cyrus_settings){ 0 });
	}
	buf_fini(&path);
	buf_fini(&dirs);
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/virus_conf.h"

#include <sys/stat.h>
#include <unistd.h>

enum { SPARES_MAX = 8 };
static const uint64_t MESSAGES_MAX = UINT64_C(1) << 30;

struct word {
	const char *word;
	int value;
};

static const struct word actions[] = { { "accept", VIRUS_ACCEPT }, { "tag", VIRUS_TAG }, { "quarantine", VIRUS_QUARANTINE },
	{ "reject", VIRUS_REJECT }, { "discard", VIRUS_DISCARD }, { NULL, 0 } };
static const struct word unavailable[] = { { "tempfail", VIRUS_TEMPFAIL }, { "accept-and-tag", VIRUS_ACCEPT_AND_TAG },
	{ "hold-and-rescan", VIRUS_HOLD_AND_RESCAN }, { NULL, 0 } };

static enum rc
read_word(const struct word *rows, const char *name, const char *value, int *out, struct err *e)
{
	char known[128] = "";
	for (; rows->word != NULL; rows++) {
		if (strcmp(rows->word, value) == 0) {
			*out = rows->value;
			return RC_OK;
		}
		size_t n = strlen(known);
		snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "", rows->word);
	}
	return err_set(e, RC_PERM, "%s: need one of %s instead of \"%.80s\"", name, known, value);
}

static enum rc
read_engine(struct conf *c, struct virus_conf *out, struct err *e)
{
	struct span engine = span_str(conf_params(c)->p_virus_engine);
	if (span_eq_str(engine, "embedded"))
		return RC_OK;
	if (!span_starts(engine, SPAN("clamd:")))
		return err_set(e, RC_PERM, "virus_engine: need embedded, clamd:unix:/path or clamd:inet:host:port instead of \"%.80s\"", conf_params(c)->p_virus_engine);
	out->is_clamd = true;
	if (endpoint_open(c, NULL, "virus_engine", span_from(engine, 6), &out->clamd, e) != RC_OK)
		return err_prefix(e, "virus_engine");
	return RC_OK;
}

enum rc
virus_conf_read(struct conf *c, struct virus_conf *out, struct err *e)
{
	const struct params *p = conf_params(c);
	*out = (struct virus_conf){ .database = p->p_virus_database, .header = p->p_virus_header, .max_file_size = (uint64_t)p->p_virus_max_file_size,
		.max_scan_size = (uint64_t)p->p_virus_max_scan_size, .max_memory = (uint64_t)p->p_virus_max_memory, .messages_max = MESSAGES_MAX,
		.max_recursion = (unsigned)p->p_virus_max_recursion, .max_files = (unsigned)p->p_virus_max_files, .scan_usec = p->p_virus_max_scan_time,
		.wait_usec = p->p_virus_wait_time, .connect_usec = p->p_virus_connect_timeout, .cache_size = (size_t)p->p_virus_cache_size };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	out->workers = p->p_virus_workers > 0 ? (unsigned)p->p_virus_workers : cpus > 0 ? (unsigned)cpus : 1;
	out->spares = out->workers < SPARES_MAX ? out->workers + 1 : SPARES_MAX;
	struct {
		const char *name, *value;
		const struct word *rows;
		int *where, number;
	} rows[] = {
		{ "virus_action", p->p_virus_action, actions + 1, NULL, 0 }, /* not accept: that is no filter */
		{ "virus_encrypted_action", p->p_virus_encrypted_action, actions, NULL, 0 },
		{ "virus_macro_action", p->p_virus_macro_action, actions, NULL, 0 },
		{ "virus_limits_action", p->p_virus_limits_action, actions, NULL, 0 },
		{ "virus_unavailable", p->p_virus_unavailable, unavailable, NULL, 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		enum rc rc = read_word(rows[i].rows, rows[i].name, rows[i].value, &rows[i].number, e);
		if (rc != RC_OK)
			return rc;
	}
	out->found = (enum virus_action)rows[0].number;
	out->encrypted = (enum virus_action)rows[1].number;
	out->macro = (enum virus_action)rows[2].number;
	out->limits = (enum virus_action)rows[3].number;
	out->unavailable = (enum virus_unavailable)rows[4].number;
	if (!span_is_printable(span_str(out->header)) || strlen(out->header) > 400)
		return err_set(e, RC_PERM, "virus_header: too long, or with control characters");
	return read_engine(c, out, e);
}

void
virus_conf_fini(struct virus_conf *v)
{
	endpoint_free(&v->clamd);
}

void
virus_conf_check(struct conf *c)
{
	struct virus_conf v = { .clamd = NULL };
	struct err e = { .why = "" };
	struct stat st;
	if (conf_params(c)->p_virus_engine[0] == '\0')
		return;
	if (virus_conf_read(c, &v, &e) != RC_OK) {
		char name[64]; /* the parameter, where the reason begins with it */
		snprintf(name, sizeof name, "%.*s", (int)strcspn(e.why, ":"), e.why);
		conf_problem(c, CONF_ERROR, NULL, name[0] != '\0' && conf_value(c, NULL, name) != NULL ? name : "virus_engine", "%s", e.why);
	} else if (!v.is_clamd && stat(v.database, &st) != 0) {
		conf_problem(c, CONF_WARNING, NULL, "virus_database", "virus_database: %s is not there: until it is, no mail is scanned, and virus_unavailable applies", v.database);
	} else if (v.is_clamd) {
		conf_problem(c, CONF_NOTE, NULL, "virus_engine", "virus_engine: clamd sees what its libclamav reads and nothing else: ZIP archives that contradict themselves, what is inside S/MIME "
		    "signatures, and odd encodings (yEnc, base64 in plain text) are looked into by the embedded engine alone%s",
		    conf_params(c)->p_attachment_rules[0] == '\0' ? "; attachment_rules would see names and kinds of files in the first two" : "");
	}
	virus_conf_fini(&v);
}

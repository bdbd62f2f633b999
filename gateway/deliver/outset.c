/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/outset.h"

#include "base/mem.h"

static bool
is_client(const struct service *s)
{
	return s->kind == SERVICE_TRANSPORT && !s->disabled && (strcmp(s->command, "smtp") == 0 || strcmp(s->command, "lmtp") == 0);
}

static enum rc
open_one(struct outset *m, const struct service *s, struct err *e)
{
	if (!is_client(s))
		return RC_OK;
	bool lmtp = strcmp(s->command, "lmtp") == 0;
	struct outservice *o = &m->row[m->n++];
	*o = (struct outservice){ .service = s };
	enum rc rc = generic_open(m->conf, s, lmtp ? "lmtp_generic_maps" : "smtp_generic_maps", &o->generic, e);
	if (rc != RC_OK || generic_is_idle(o->generic))
		generic_free(&o->generic);
	if (checks_open(m->conf, s, lmtp ? CHECKS_LMTP : CHECKS_SMTP, &o->checks, e) != RC_OK)
		rc = RC_PERM;
	if (logins_open(m->conf, s, lmtp, &o->logins, e) != RC_OK)
		rc = RC_PERM;
	if (tls_policies_open(m->conf, s, lmtp, &o->policies, e) != RC_OK)
		rc = RC_PERM;
	return rc;
}

enum rc
outset_open(struct conf *c, struct outset **out, struct err *e)
{
	static const char *const built_in[] = { "smtp", "relay", "lmtp" }; /* need no line in master.cf */
	size_t n = conf_service_count(c);
	struct outset *m = *out = mem_zalloc(sizeof *m + (n + NELEMS(built_in)) * sizeof m->row[0]);
	enum rc rc = RC_OK;
	m->refs = 1;
	m->conf = conf_ref(c);
	for (size_t i = 0; i < n; i++)
		if (open_one(m, conf_service(c, i), e) != RC_OK)
			rc = RC_PERM;
	for (size_t i = 0; i < NELEMS(built_in); i++) {
		const struct service *s = conf_service_find(c, built_in[i], "unix");
		bool is_listed = s == NULL;
		for (size_t k = 0; k < n; k++)
			is_listed |= conf_service(c, k) == s;
		if (!is_listed && open_one(m, s, e) != RC_OK)
			rc = RC_PERM;
	}
	return rc;
}

struct outset *
outset_ref(struct outset *m)
{
	if (m != NULL)
		m->refs++;
	return m;
}

void
outset_unref(struct outset **mp)
{
	struct outset *m = *mp;
	*mp = NULL;
	if (m == NULL || --m->refs > 0)
		return;
	BUG_ON(m->refs < 0);
	for (size_t i = 0; i < m->n; i++) {
		generic_free(&m->row[i].generic);
		checks_free(&m->row[i].checks);
		logins_free(&m->row[i].logins);
		tls_policies_free(&m->row[i].policies);
	}
	conf_unref(&m->conf);
	mem_free(&m);
}

const struct outservice *
outset_of(const struct outset *m, const struct service *s)
{
	for (size_t i = 0; m != NULL && i < m->n; i++)
		if (m->row[i].service == s)
			return &m->row[i];
	return NULL;
}

bool
outset_logs_in(const struct outset *m)
{
	for (size_t i = 0; m != NULL && i < m->n; i++)
		if (m->row[i].logins != NULL)
			return true;
	return false;
}

void
outset_check(struct conf *c)
{
	struct outset *m;
	struct err e;
	(void)!outset_open(c, &m, &e); /* its problems are in the configuration */
	for (size_t i = 0; i < m->n; i++)
		checks_notes(c, m->row[i].service, m->row[i].checks);
	outset_unref(&m);
}

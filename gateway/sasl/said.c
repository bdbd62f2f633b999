/* SPDX-License-Identifier: BSD-2-Clause */
#include "sasl/said.h"

static struct span
until(struct span s, unsigned char c)
{
	size_t at = span_chr(s, c);
	return at == SIZE_MAX ? SPAN_EMPTY : span_head(s, at);
}

/* RFC 4616: authzid NUL authcid NUL password. */
static struct span
in_plain(struct span r)
{
	size_t nul = span_chr(r, '\0');
	return nul == SIZE_MAX ? SPAN_EMPTY : until(span_from(r, nul + 1), '\0');
}

/* RFC 2195: name, a blank, the digest. */
static struct span
in_cram(struct span r)
{
	size_t blank = span_rchr(r, ' ');
	return blank == SIZE_MAX ? SPAN_EMPTY : span_head(r, blank);
}

/* RFC 5801: "n,a=authzid," and then, RFC 5802: "n=name,r=nonce". */
static struct span
in_scram(struct span r)
{
	for (int commas = 0; commas < 2; commas++) {
		size_t at = span_chr(r, ',');
		if (at == SIZE_MAX)
			return SPAN_EMPTY;
		r = span_from(r, at + 1);
	}
	return span_starts(r, SPAN("n=")) ? until(span_from(r, 2), ',') : SPAN_EMPTY;
}

/* "user=name^Aauth=Bearer ...^A^A" */
static struct span
in_xoauth2(struct span r)
{
	return span_casestarts(r, SPAN("user=")) ? until(span_from(r, 5), '\001') : SPAN_EMPTY;
}

/* RFC 7628: "n,a=name,^A..." */
static struct span
in_oauthbearer(struct span r)
{
	size_t at = span_chr(r, ',');
	r = at == SIZE_MAX ? SPAN_EMPTY : span_from(r, at + 1);
	return span_starts(r, SPAN("a=")) ? until(span_from(r, 2), ',') : SPAN_EMPTY;
}

static struct span
in_login(struct span r)
{
	return r;
}

static const struct {
	const char *mech;
	bool is_prefix;
	struct span (*fn)(struct span);
} rows[] = {
	{ "PLAIN", false, in_plain }, { "LOGIN", false, in_login }, { "CRAM-MD5", false, in_cram }, { "SCRAM-", true, in_scram },
	{ "XOAUTH2", false, in_xoauth2 }, { "OAUTHBEARER", false, in_oauthbearer },
};

struct span
sasl_said_name(struct span mech, unsigned nth, struct span response)
{
	struct span name = SPAN_EMPTY;
	for (size_t i = 0; i < NELEMS(rows) && nth == 0; i++)
		if (rows[i].is_prefix ? span_casestarts(mech, span_str(rows[i].mech)) : span_caseeq_str(mech, rows[i].mech))
			name = rows[i].fn(response);
	return name.n <= SASL_NAME_MAX && span_is_printable(name) && span_is_utf8(name) ? name : SPAN_EMPTY;
}

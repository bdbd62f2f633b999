/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/oauth.h"

static const char *const names[] = { [OAUTH_NONE] = "", [OAUTH_BEARER] = "OAUTHBEARER", [OAUTH_X] = "XOAUTH2" };

enum oauth
oauth_choose(struct span mechs)
{
	enum oauth best = OAUTH_NONE;
	for (struct span mech; span_word(&mechs, " \t", &mech);) {
		if (span_caseeq_str(mech, names[OAUTH_BEARER]))
			return OAUTH_BEARER;
		if (span_caseeq_str(mech, names[OAUTH_X]))
			best = OAUTH_X;
	}
	return best;
}

const char *
oauth_name(enum oauth kind)
{
	return names[kind];
}

/* RFC 5801 4: a saslname. */
static void
put_saslname(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == ',')
			buf_put(out, SPAN("=2C"));
		else if (s.p[i] == '=')
			buf_put(out, SPAN("=3D"));
		else
			buf_putc(out, s.p[i]);
	}
}

enum rc
oauth_first(enum oauth kind, struct span user, struct span token, const char *host, uint16_t port, struct buf *out, struct err *e)
{
	if (user.n == 0 || !span_is_printable(user) || !span_is_utf8(user))
		return err_set(e, RC_PERM, "a user name with control characters, or none");
	if (token.n == 0 || !span_is_printable(token) || !span_is_ascii(token) || span_chr(token, ' ') != SIZE_MAX)
		return err_set(e, RC_PERM, "the token is empty or malformed");
	if (kind == OAUTH_BEARER) {
		buf_put(out, SPAN("n,a="));
		put_saslname(out, user);
		buf_puts(out, ",\001host=");
		buf_puts(out, host);
		buf_puts(out, "\001port=");
		buf_put_dec(out, port);
		buf_putc(out, 1);
	} else {
		buf_put(out, SPAN("user="));
		buf_put(out, user);
		buf_putc(out, 1);
	}
	buf_put(out, SPAN("auth=Bearer "));
	buf_put(out, token);
	buf_put(out, SPAN("\001\001"));
	return out->over ? err_set(e, RC_PERM, "the token is too long") : RC_OK;
}

struct span
oauth_last(enum oauth kind)
{
	return kind == OAUTH_BEARER ? SPAN("\001") : SPAN_EMPTY;
}

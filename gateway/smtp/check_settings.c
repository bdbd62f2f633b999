/* SPDX-License-Identifier: BSD-2-Clause */
/* What an smtpd service wants checked in messages. */
#include "smtp/checking.h"

#include "smtp/content.h"

/* Backslash escapes of C, as Postfix takes them: \\a \\b \\f \\n \\r \\t \\v \\ddd \\x. */
static void
mark_chars(struct check_settings *k, const char *text, uint8_t mark)
{
	static const char names[] = "abfnrtv", values[] = "\a\b\f\n\r\t\v";
	while (*text != '\0') {
		unsigned c = (unsigned char)*text++;
		if (c == '\\' && *text != '\0') {
			const char *name = strchr(names, *text);
			c = (unsigned char)*text++;
			if (name != NULL) {
				c = (unsigned char)values[name - names];
			} else if (c >= '0' && c <= '7') {
				c -= '0';
				for (int i = 0; i < 2 && *text >= '0' && *text <= '7'; i++)
					c = c * 8 + (unsigned)(*text++ - '0');
			}
		}
		if (c == '\n' || c == '\r') /* line ends are no characters of a line */
			continue;
		k->chars[c & 255] |= mark;
		k->has_chars = true;
	}
}

static unsigned
mime_flags(const struct params *p)
{
	if (p->p_disable_mime_input_processing)
		return MIME_OFF;
	return (p->p_strict_8bitmime || p->p_strict_7bit_headers ? (unsigned)MIME_WANT_7BIT_HEADERS : 0) |
	    (p->p_strict_8bitmime || p->p_strict_8bitmime_body ? (unsigned)MIME_WANT_7BIT_BODY : 0) |
	    (p->p_strict_mime_encoding_domain ? (unsigned)MIME_WANT_DOMAIN : 0);
}

enum rc
check_settings_open(struct conf *c, const struct service *s, struct check_settings *out, struct err *e)
{
	const struct params *p = s->params;
	*out = (struct check_settings){ .checks = NULL };
	enum rc rc = checks_open(c, s, CHECKS_IN, &out->checks, e);
	if (checks_open(c, s, CHECKS_MILTER, &out->milter, e) != RC_OK)
		rc = RC_PERM;
	unsigned flags = mime_flags(p);
	out->body_max = p->p_body_checks_size_limit > 0 ? (uint64_t)p->p_body_checks_size_limit : UINT64_MAX;
	out->mime = (struct mime_conf){
		.header_max = (size_t)p->p_header_size_limit, .line_max = (size_t)(p->p_line_length_limit < 4 ? 4 : p->p_line_length_limit),
		.boundary_max = (size_t)p->p_mime_boundary_length_limit, .nesting_max = (unsigned)p->p_mime_nesting_limit, .flags = flags,
		.lines_max = (flags & MIME_WANT_7BIT_BODY) != 0 ? UINT64_MAX : checks_has(out->checks, CHECK_BODY) ? out->body_max : 0,
	};
	out->wants_mime = out->checks != NULL || (flags & ~(unsigned)MIME_OFF) != 0;
	if (!checks_left_out(p)) {
		mark_chars(out, p->p_message_reject_characters, CONTENT_CHAR_REJECT);
		mark_chars(out, p->p_message_strip_characters, CONTENT_CHAR_STRIP);
	}
	return rc;
}

void
check_settings_free(struct check_settings *k)
{
	checks_free(&k->checks);
	checks_free(&k->milter);
}

void
check_settings_notes(struct conf *c, const struct service *s, const struct check_settings *k)
{
	checks_notes(c, s, k->checks);
	checks_notes(c, s, k->milter);
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/keynote.h"

#define END_OF_CHAIN "=\n" /* no line of PEM */

void
keynote_name_put(struct buf *b, enum tls_side side, const char *files, const char *key_file)
{
	buf_puts(b, KEYNOTE_CHAIN);
	buf_puts(b, side == TLS_SERVER ? "server:" : "client:");
	buf_puts(b, files);
	if (key_file != NULL && strcmp(files, key_file) != 0) {
		buf_putc(b, '\n');
		buf_puts(b, key_file);
	} else if (key_file == NULL) {
		buf_puts(b, "\n\n");
	}
}

const char *
keynote_files(const char *name)
{
	return name + strlen(KEYNOTE_CHAIN) + strlen("server:");
}

void
keynote_chain_put(struct buf *b, const struct chain *ch)
{
	chain_put_certs(b, ch);
	buf_puts(b, END_OF_CHAIN);
}

bool
keynote_chain(struct span *rest, struct span *pem_out)
{
	size_t at = span_find(*rest, SPAN("\n" END_OF_CHAIN));
	if (at >= rest->n)
		return false;
	*pem_out = span_head(*rest, at + 1);
	*rest = span_from(*rest, at + 1 + strlen(END_OF_CHAIN));
	return true;
}

static const char *
allow_name(char text[16 + 2 * KEY_ID], const unsigned char id[KEY_ID])
{
	int at = snprintf(text, 16, "tls-key:");
	for (size_t i = 0; i < KEY_ID; i++)
		at += snprintf(text + at, 3, "%02x", id[i]);
	return text;
}

void
keynote_allow(struct conf *c, const unsigned char id[KEY_ID], unsigned sides)
{
	char name[16 + 2 * KEY_ID], value[2] = { (char)('0' + (keynote_allowed(c, id) | sides)), '\0' };
	conf_attach(c, allow_name(name, id), value);
}

unsigned
keynote_allowed(const struct conf *c, const unsigned char id[KEY_ID])
{
	char name[16 + 2 * KEY_ID];
	const char *value = conf_attached(c, allow_name(name, id));
	return value != NULL && value[0] >= '0' && value[0] <= '3' ? (unsigned)(value[0] - '0') : 0;
}

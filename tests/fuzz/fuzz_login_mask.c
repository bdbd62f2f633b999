/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_login_mask - what a hub says when it knows our password: input is the password, a zero octet, and the text. Afterwards the
 * text has neither the password nor its base64, and is no longer than before.
 */
#include "base/mem.h"
#include "deliver/login.h"
#include "deliver/sasl.h"

#include <openssl/evp.h>
#include <stdint.h>

enum { SECRET_MAX = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char secret[SECRET_MAX + 1], user[] = "u";
	unsigned char coded[2 * SECRET_MAX];
	const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
	size_t n = zero != NULL ? (size_t)(zero - data) : 0;
	if (n < 4 || n > SECRET_MAX || size > 4096)
		return 0;
	memcpy(secret, data, n + 1);
	struct login l = { .user = user, .secret = secret };
	struct buf text;
	buf_init(&text, 65536);
	int len = EVP_EncodeBlock(coded, data, (int)n);
	buf_put(&text, span_of(data + n + 1, size - n - 1));
	buf_puts(&text, "<");
	buf_put(&text, span_of(data, n));
	buf_puts(&text, "|");
	buf_put(&text, span_of(coded, (size_t)len));
	buf_puts(&text, ">");
	size_t before = buf_len(&text);
	login_mask(&l, &text);
	BUG_ON(buf_len(&text) > before);
	/* a mark may stand beside what was left and make it again: only for a password that has one in it */
	if (span_find(span_of(data, n), SPAN("*")) == SIZE_MAX)
		BUG_ON(span_find(buf_span(&text), span_of(data, n)) != SIZE_MAX);
	BUG_ON(span_find(buf_span(&text), span_of(coded, n / 3 * 4 + n % 3)) != SIZE_MAX);
	(void)scram_work(span_of(data, size));
	buf_fini(&text);
	return 0;
}

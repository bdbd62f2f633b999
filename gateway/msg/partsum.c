/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/partsum.h"

#include <openssl/evp.h>

enum { PIECE = 16 * 1024 };

void
part_sum_init(struct part_sum *s)
{
	*s = (struct part_sum){ .digest = EVP_MD_CTX_new() };
	buf_init(&s->decoded, 2 * PIECE);
	BUG_ON(s->digest == NULL);
}

void
part_sum_fini(struct part_sum *s)
{
	EVP_MD_CTX_free(s->digest);
	s->digest = NULL;
	buf_fini(&s->decoded);
}

void
part_sum_begin(struct part_sum *s, unsigned how)
{
	s->decode = (struct decode){ .how = how };
	s->size = 0;
	BUG_ON(EVP_DigestInit_ex(s->digest, EVP_sha256(), NULL) != 1);
}

static void
add(struct part_sum *s, struct span out)
{
	s->size += out.n;
	if (out.n > 0)
		(void)EVP_DigestUpdate(s->digest, out.p, out.n);
}

void
part_sum_put(struct part_sum *s, struct span in)
{
	if (s->decode.how == DECODE_AS_IS) {
		add(s, in);
		return;
	}
	for (; in.n > 0; in = span_from(in, in.n < PIECE ? in.n : PIECE)) {
		buf_reset(&s->decoded);
		decode_put(&s->decode, span_head(in, PIECE), &s->decoded);
		add(s, buf_span(&s->decoded));
	}
}

void
part_sum_end(struct part_sum *s, struct held_part *p)
{
	unsigned char sum[EVP_MAX_MD_SIZE] = { 0 };
	buf_reset(&s->decoded);
	decode_end(&s->decode, &s->decoded);
	add(s, buf_span(&s->decoded));
	BUG_ON(EVP_DigestFinal_ex(s->digest, sum, NULL) != 1);
	p->size = s->size;
	memcpy(p->sha256, sum, sizeof p->sha256);
	p->is_summed = true;
}

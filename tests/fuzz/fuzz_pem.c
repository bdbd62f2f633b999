/* SPDX-License-Identifier: BSD-2-Clause */
/* Certificate and key files: whatever is in them, the text written for others holds the certificates, no key, and is read again as the same. */
#include "tls/chain.h"
#include "tls/keynote.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
look(const struct chain *c)
{
	struct buf b;
	struct pem_file f = { 0 };
	struct err e;
	struct span rest, pem;
	buf_init(&b, 64 << 20);
	cert_names_put(&b, c->leaf);
	cert_time_put(&b, cert_not_after(c->leaf));
	BUG_ON(!span_is_printable(buf_span(&b)));
	buf_reset(&b);
	keynote_chain_put(&b, c);
	rest = buf_span(&b);
	BUG_ON(span_find(rest, SPAN("PRIVATE KEY")) < rest.n);
	BUG_ON(!keynote_chain(&rest, &pem) || rest.n != 0 || pem_read(&f, pem, &e) != RC_OK);
	BUG_ON(f.n != 1 + (size_t)sk_X509_num(c->above) || X509_cmp(f.items[0].cert, c->leaf) != 0);
	pem_free(&f);
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct pem_file f = { 0 };
	struct chain c;
	struct err e;
	size_t at = 0;
	bool is_key;
	if (pem_read(&f, span_of(p, n), &e) == RC_OK) {
		enum rc rc;
		while ((rc = chain_next(&f, &at, &c, &e)) != RC_NONE) {
			if (rc == RC_OK)
				look(&c);
			chain_free(&c);
			if (rc != RC_OK)
				break;
		}
	}
	pem_free(&f);
	c = (struct chain){ 0 };
	if (pem_read(&f, span_of(p, n), &e) == RC_OK && chain_of_pair(&f, &f, &c, &is_key, &e) == RC_OK)
		look(&c);
	chain_free(&c);
	pem_free(&f);
	return 0;
}

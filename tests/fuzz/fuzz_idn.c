/* SPDX-License-Identifier: BSD-2-Clause */
/* Whatever comes in: what goes out is ASCII, has as many dots, and labels that the DNS can have. */
#include "dns/idn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char out[DNS_IDN_MAX];
	struct span in = span_of(data, size), ascii, again;
	if (!dns_to_ascii(in, out, &ascii))
		return 0;
	BUG_ON(!span_is_ascii(ascii));
	if (span_is_ascii(in)) {
		BUG_ON(ascii.p != in.p || ascii.n != in.n);
		return 0;
	}
	BUG_ON(!span_is_utf8(in) || ascii.n > DNS_IDN_MAX);
	size_t dots = 0, label = 0;
	for (size_t i = 0; i < in.n; i++)
		dots += in.p[i] == '.';
	for (size_t i = 0; i < ascii.n; i++) {
		dots -= ascii.p[i] == '.';
		label = ascii.p[i] == '.' ? 0 : label + 1;
		BUG_ON(label > 63);
	}
	BUG_ON(dots != 0);
	BUG_ON(!dns_to_ascii(ascii, out, &again) || again.p != ascii.p);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: whatever a message and a hub said, a report has CRLF line ends only, no line over 998 octets, no NUL,
 * a header in ASCII unless it is SMTPUTF8, and every part begins and ends where the boundary says. */
#include "msg/dsn.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* The input is cut into fields at bytes 0xff. */
static struct span
field(struct span *rest)
{
	size_t at = span_chr(*rest, 0xff);
	struct span f = at == SIZE_MAX ? *rest : span_head(*rest, at);
	*rest = at == SIZE_MAX ? SPAN_EMPTY : span_from(*rest, at + 1);
	return f;
}

static void
check(struct span s, bool utf8)
{
	size_t line = 0, parts = 0, at = 0;
	bool in_header = true;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		BUG_ON(c == '\0');
		BUG_ON(c == '\n' && (i == 0 || s.p[i - 1] != '\r'));
		BUG_ON(c == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'));
		BUG_ON(in_header && !utf8 && c > 0x7f);
		if (c == '\n') {
			in_header = in_header && line > 1;
			line = 0;
		} else {
			line++;
			BUG_ON(line > 999);
		}
	}
	for (struct span rest = s; (at = span_find(rest, SPAN("\r\n--QID.77/gw.test"))) != SIZE_MAX; rest = span_from(rest, at + 4))
		parts++;
	BUG_ON(parts < 4);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	struct span rest = span_of(p + 1, n - 1);
	static const char *const actions[] = { "failed", "delayed", "relayed" };
	unsigned kind = p[0] % 3;
	struct dsn_rcpt r[2] = { { .addr = field(&rest), .orcpt = field(&rest), .action = actions[kind], .status = field(&rest), .text = field(&rest),
		.mta = field(&rest), .diag = field(&rest) } };
	r[1] = r[0];
	struct dsn_report d = {
		.kind = (enum dsn_kind)(kind + 1), .postmaster = (p[0] & 16) != 0, .myhostname = "gw.test", .myorigin = "gw.test", .mail_name = "Dogana",
		.qid = SPAN("QID"), .now = 77000000, .to = field(&rest), .about_qid = field(&rest), .sender = field(&rest), .envid = field(&rest),
		.message_id = field(&rest), .rcpts = r, .nrcpt = 2, .headers_only = (p[0] & 32) != 0, .is_utf8 = (p[0] & 64) != 0, .content = rest,
	};
	struct buf out;
	buf_init(&out, 64 << 20);
	dsn_write(&out, &d);
	BUG_ON(out.over);
	check(buf_span(&out), d.is_utf8);
	buf_fini(&out);
	return 0;
}

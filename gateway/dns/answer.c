/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/answer.h"

enum { HEADER = 12, CLASS_IN = 1, TYPE_CNAME = 5, TYPE_SOA = 6, TYPE_OPT = 41, RCODE_NXDOMAIN = 3, JUMPS_MAX = 32, TEXT_MAX = DNS_NAME_MAX * 4 };

static const char why_temp[] = "Host not found, try again";
static const char why_none[] = "Host not found";
static const char why_nodata[] = "Host found but no data record of requested type";
static const char why_bad[] = "Malformed or unexpected name server reply";

/* A name in wire form, without compression. */
struct name {
	size_t n;
	unsigned char b[DNS_NAME_MAX];
};

struct record {
	struct name owner;
	uint16_t type;
	uint32_t ttl;
	struct cur data;           /* bounded to the record's data */
};

static enum rc collect(struct span packet, struct cur body, unsigned count, const struct name *want, enum dns_type type, struct arena *a,
    struct dns_answer *out);
static bool follow_aliases(struct span packet, struct cur body, unsigned count, struct name *want, struct dns_answer *out, enum rc *rc_out);
static bool skip_records(struct span packet, struct cur *rd, unsigned count);
static unsigned extended_rcode(struct span packet, struct cur rd, unsigned count);
static bool negative_ttl(struct span packet, struct cur *rd, unsigned count, struct dns_answer *out);

const char *
dns_type_name(enum dns_type t)
{
	switch (t) {
	case DNS_A: return "A";
	case DNS_NS: return "NS";
	case DNS_PTR: return "PTR";
	case DNS_MX: return "MX";
	case DNS_TXT: return "TXT";
	case DNS_AAAA: return "AAAA";
	case DNS_SRV: return "SRV";
	case DNS_TLSA: return "TLSA";
	}
	return "?";
}

const char *
dns_host_error(enum rc rc, const struct dns_answer *a)
{
	if (rc != RC_NONE)
		return "Temporary failure in name resolution";
	return a->nxdomain ? "Name or service not known" : "No address associated with hostname";
}

bool
dns_name_encode(struct span text, unsigned char wire[DNS_NAME_MAX], size_t *len_out)
{
	size_t at = 0;
	if (text.n > 0 && text.p[text.n - 1] == '.')
		text.n--;
	if (text.n > 0 && text.n + 2 > DNS_NAME_MAX)
		return false;
	while (text.n > 0) {
		size_t n = span_chr(text, '.');
		bool is_last = n == SIZE_MAX;
		if (is_last)
			n = text.n;
		if (n == 0 || n > 63 || (!is_last && n + 1 == text.n))
			return false;
		wire[at++] = (unsigned char)n;
		for (size_t i = 0; i < n; i++) {
			unsigned char c = text.p[i];
			if (c <= ' ' || c >= 0x7f || c == '\\')
				return false;
			wire[at++] = c;
		}
		text = span_from(text, is_last ? n : n + 1);
	}
	wire[at++] = 0;
	*len_out = at;
	return true;
}

bool
dns_is_hostname(struct span s)
{
	if (s.n == 0 || s.n > DNS_NAME_MAX)
		return false;
	size_t label = 0;
	bool all_digits = true;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		bool is_digit = c >= '0' && c <= '9';
		if (c == '.') {
			if (label == 0 || s.p[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		if (!is_digit && !is_letter && (c != '-' || label == 0))
			return false;
		all_digits = all_digits && is_digit;
		if (++label > 63)
			return false;
	}
	return label > 0 && s.p[s.n - 1] != '-' && !all_digits;
}

/* Reads a name at rd, which is somewhere in the whole packet. A pointer must lead to a place before the
 * run of labels it stands in, so every jump goes back and the walk ends. */
static bool
name_read(struct cur *rd, struct span whole, struct name *out)
{
	struct cur at = *rd;
	unsigned jumps = 0;
	if (cur_left(&at) == 0)
		return false;
	size_t run_start = (size_t)(at.p - whole.p);
	out->n = 0;
	for (;;) {
		uint8_t len = cur_u8(&at);
		if (at.bad)
			return false;
		if (len >= 0xc0) {
			size_t to = (size_t)(len & 0x3f) << 8 | cur_u8(&at);
			if (at.bad || to >= run_start || jumps == JUMPS_MAX)
				return false;
			if (jumps++ == 0)
				*rd = at;
			run_start = to;
			at = cur_of(span_from(whole, to));
			continue;
		}
		if (len > 63 || out->n + len + 1 > DNS_NAME_MAX)
			return false;
		out->b[out->n++] = len;
		struct span label = cur_take(&at, len);
		if (at.bad)
			return false;
		if (len == 0)
			break;
		memcpy(out->b + out->n, label.p, len);
		out->n += len;
	}
	if (jumps == 0)
		*rd = at;
	return true;
}

static bool
name_eq(const struct name *a, const struct name *b)
{
	/* lengths are at most 63, so folding the case of letters cannot confuse them */
	return span_caseeq(span_of(a->b, a->n), span_of(b->b, b->n));
}

/* Text in the arena. */
static bool
name_text(const struct name *name, struct arena *a, struct span *out)
{
	unsigned char text[TEXT_MAX];
	size_t n = 0;
	for (size_t at = 0; name->b[at] != 0; at += name->b[at] + 1u) {
		if (at > 0)
			text[n++] = '.';
		for (size_t i = 1; i <= name->b[at]; i++) {
			unsigned char c = name->b[at + i];
			if (c == '.' || c == '\\') {
				text[n++] = '\\';
				text[n++] = c;
			} else if (c <= ' ' || c >= 0x7f) {
				text[n++] = '\\';
				text[n++] = (unsigned char)('0' + c / 100);
				text[n++] = (unsigned char)('0' + c / 10 % 10);
				text[n++] = (unsigned char)('0' + c % 10);
			} else {
				text[n++] = c;
			}
		}
	}
	*out = arena_span(a, span_of(text, n));
	return !a->over;
}

static bool
record_read(struct cur *rd, struct span whole, struct record *out)
{
	if (!name_read(rd, whole, &out->owner))
		return false;
	out->type = cur_be16(rd);
	uint16_t class = cur_be16(rd);
	out->ttl = cur_be32(rd);
	if (out->ttl > INT32_MAX) /* RFC 2181 8: the top bit set means zero */
		out->ttl = 0;
	size_t len = cur_be16(rd);
	struct span data = cur_take(rd, len);
	if (rd->bad)
		return false;
	out->data = cur_of(data);
	if (class != CLASS_IN)
		out->type = 0;
	return true;
}

static enum rc
failed(struct dns_answer *out, enum rc rc, const char *why)
{
	out->why = why;
	out->n = 0;
	return rc;
}

enum rc
dns_answer_parse(struct span packet, struct span name, enum dns_type type, struct arena *a, struct dns_answer *out)
{
	*out = (struct dns_answer){ .ttl = DNS_TTL_MAX };
	struct name want, asked;
	if (!dns_name_encode(name, want.b, &want.n))
		return failed(out, RC_PERM, why_bad);
	struct cur rd = cur_of(packet);
	(void)cur_be16(&rd);
	uint16_t flags = cur_be16(&rd), nq = cur_be16(&rd), nan = cur_be16(&rd), nns = cur_be16(&rd), nar = cur_be16(&rd);
	if (rd.bad || (flags & 0x8000) == 0 || nq != 1)
		return failed(out, RC_PERM, why_bad);
	if (!name_read(&rd, packet, &asked) || !name_eq(&asked, &want) || cur_be16(&rd) != type || cur_be16(&rd) != CLASS_IN || rd.bad)
		return failed(out, RC_PERM, why_bad);
	unsigned rcode = out->rcode = (flags & 15) | extended_rcode(packet, rd, (unsigned)nan + nns + nar);
	if ((rcode != 0 && rcode != RCODE_NXDOMAIN) || (flags & 0x0200) != 0)
		return failed(out, RC_TEMP, why_temp);
	enum rc rc = RC_OK;
	out->is_secure = (flags & 0x0020) != 0;
	if (!follow_aliases(packet, rd, nan, &want, out, &rc))
		return failed(out, rc, rc == RC_TEMP ? why_temp : why_bad);
	rc = collect(packet, rd, nan, &want, type, a, out);
	if (rc == RC_PERM || (out->n > 0 && rcode == RCODE_NXDOMAIN))
		return failed(out, RC_PERM, why_bad);
	if (out->n > 0)
		return RC_OK;
	out->nxdomain = rcode == RCODE_NXDOMAIN;
	if (!skip_records(packet, &rd, nan))
		return failed(out, RC_PERM, why_bad);
	uint32_t ttl = out->ttl;
	if (!negative_ttl(packet, &rd, nns, out) && !out->nxdomain && out->aliases > 0 && want.n > 1) { /* the root has no records of mail */
		out->ttl = ttl;
		if (!name_text(&want, a, &out->alias))
			return failed(out, RC_PERM, why_bad);
	}
	return failed(out, RC_NONE, out->nxdomain ? why_none : why_nodata);
}

/* Replaces *want by the end of its chain of aliases. Their order in the packet does not matter. */
static bool
follow_aliases(struct span packet, struct cur body, unsigned count, struct name *want, struct dns_answer *out, enum rc *rc_out)
{
	for (unsigned hops = 0; hops <= DNS_CNAME_MAX; hops++) {
		struct cur rd = body;
		bool found = false;
		for (unsigned i = 0; i < count && i < DNS_SCAN_MAX && !found; i++) {
			struct record r;
			if (!record_read(&rd, packet, &r))
				break; /* collect() says that it is malformed, if it matters */
			if (r.type != TYPE_CNAME || !name_eq(&r.owner, want))
				continue;
			struct name to;
			struct cur data = r.data;
			if (!name_read(&data, packet, &to) || data.p != r.data.end) {
				*rc_out = RC_PERM;
				return false;
			}
			*want = to;
			out->aliases++;
			if (r.ttl < out->ttl)
				out->ttl = r.ttl;
			found = true;
		}
		if (!found)
			return true;
	}
	*rc_out = RC_TEMP;
	return false;
}

/* Character strings (RFC 1035 3.3.14) joined. */
static bool
read_text(struct cur *data, struct arena *a, struct span *out)
{
	unsigned char text[DNS_TXT_MAX];
	size_t n = 0;
	while (cur_left(data) > 0) {
		struct span s = cur_take(data, cur_u8(data));
		if (data->bad)
			return false;
		if (s.n > sizeof text - n)
			s.n = sizeof text - n;
		if (s.n > 0)
			memcpy(text + n, s.p, s.n);
		n += s.n;
	}
	*out = arena_span(a, span_of(text, n));
	return !a->over;
}

static bool
read_data(struct span packet, struct record *r, enum dns_type type, struct arena *a, struct dns_rr *out)
{
	struct cur data = r->data;
	struct name name;
	*out = (struct dns_rr){ 0 };
	switch (type) {
	case DNS_A: {
		struct span s = cur_take(&data, sizeof out->addr.a);
		if (!cur_done(&data))
			return false;
		memcpy(&out->addr.a, s.p, s.n);
		return true;
	}
	case DNS_AAAA: {
		struct span s = cur_take(&data, sizeof out->addr.aaaa);
		if (!cur_done(&data))
			return false;
		memcpy(&out->addr.aaaa, s.p, s.n);
		return true;
	}
	case DNS_MX:
		out->pref = cur_be16(&data);
		if (data.bad)
			return false;
		break;
	case DNS_NS:
	case DNS_PTR:
		break;
	case DNS_TXT:
		return read_text(&data, a, &out->data);
	case DNS_SRV:
		out->pref = cur_be16(&data);
		out->addr.srv.weight = cur_be16(&data);
		out->addr.srv.port = cur_be16(&data);
		if (data.bad)
			return false;
		break;
	case DNS_TLSA:
		out->addr.tlsa.usage = cur_u8(&data);
		out->addr.tlsa.selector = cur_u8(&data);
		out->addr.tlsa.matching = cur_u8(&data);
		if (data.bad || cur_left(&data) == 0)
			return false;
		out->data = arena_span(a, cur_take(&data, cur_left(&data)));
		return !a->over;
	}
	return name_read(&data, packet, &name) && data.p == r->data.end && name_text(&name, a, &out->data);
}

static enum rc
collect(struct span packet, struct cur body, unsigned count, const struct name *want, enum dns_type type, struct arena *a,
    struct dns_answer *out)
{
	unsigned room = 0;
	for (unsigned i = 0; i < count && i < DNS_SCAN_MAX; i++) {
		struct record r;
		if (!record_read(&body, packet, &r))
			return RC_PERM;
		if (r.type != type || !name_eq(&r.owner, want) || out->n == DNS_RR_MAX)
			continue;
		if (out->n == room) {
			unsigned more = room == 0 ? 4 : room * 2;
			struct dns_rr *rr = arena_alloc(a, more * sizeof *rr);
			if (rr == NULL)
				break;
			if (room > 0)
				memcpy(rr, out->rr, room * sizeof *rr);
			out->rr = rr;
			room = more;
		}
		bool was_over = a->over;
		if (!read_data(packet, &r, type, a, &out->rr[out->n])) {
			if (!was_over && a->over)
				break; /* full: what there is will do */
			return RC_PERM;
		}
		out->n++;
		if (r.ttl < out->ttl)
			out->ttl = r.ttl;
	}
	return RC_OK;
}

static bool
skip_records(struct span packet, struct cur *rd, unsigned count)
{
	struct record r;
	for (unsigned i = 0; i < count && i < DNS_SCAN_MAX; i++)
		if (!record_read(rd, packet, &r))
			return false;
	return true;
}

/* RFC 6891 6.1.3: the OPT record has the upper eight bits of the code, of BADVERS for one. */
static unsigned
extended_rcode(struct span packet, struct cur rd, unsigned count)
{
	struct name owner;
	for (unsigned i = 0; i < count && i < DNS_SCAN_MAX && name_read(&rd, packet, &owner); i++) {
		uint16_t type = cur_be16(&rd);
		(void)cur_be16(&rd);
		uint32_t ttl = cur_be32(&rd);
		(void)cur_take(&rd, cur_be16(&rd));
		if (rd.bad)
			break;
		if (type == TYPE_OPT)
			return ttl >> 24 << 4;
	}
	return 0;
}

/* RFC 2308 5: the smaller of the SOA's own TTL and its last field. Without a SOA: 0, and false. */
static bool
negative_ttl(struct span packet, struct cur *rd, unsigned count, struct dns_answer *out)
{
	uint32_t ttl = 0;
	bool found = false;
	struct record r;
	for (unsigned i = 0; i < count && i < DNS_SCAN_MAX && record_read(rd, packet, &r); i++) {
		if (r.type != TYPE_SOA)
			continue;
		found = true;
		struct name skip;
		struct cur data = r.data;
		if (!name_read(&data, packet, &skip) || !name_read(&data, packet, &skip))
			break;
		/* name_read may have followed a pointer: the cursor is still bounded by the packet */
		if (data.p > r.data.end || (size_t)(r.data.end - data.p) != 20)
			break;
		(void)cur_take(&data, 16);
		ttl = cur_be32(&data);
		if (r.ttl < ttl)
			ttl = r.ttl;
		break;
	}
	if (ttl > DNS_NEGATIVE_TTL_MAX)
		ttl = DNS_NEGATIVE_TTL_MAX;
	if (ttl < out->ttl)
		out->ttl = ttl;
	return found;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two properties. A file planted in a structure that the input builds is found, or the search says why it could not read the message;
 * and whatever the octets are, parts lie inside the message, and what strip makes no longer has what it took out.
 */
#include "filters/attachments/judge.h"
#include "filters/attachments/strip.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { MESSAGE_MAX = 256 * 1024, NAMES = 6 };

static const struct search_limits limits = { .parts = 200, .depth = 20, .archive_depth = 3, .archive_members = 200, .unpacked = 1 << 20 };

static const char *const fields[NAMES] = {
	"Content-Disposition: attachment; filename=\"evil.exe\"\r\n",
	"Content-Type: application/x; name*0=\"ev\"; name*1=\"il.exe\"\r\n",
	"Content-Disposition: attachment; filename*=utf-8''evil%2Eexe\r\n",
	"Content-Type: text/plain\r\nContent-Type: x/y; name=\"=?utf-8?Q?evil=2Eexe?=\"\r\n",
	"Content-Disposition: attachment;\r\n filename=\"evil.\r\n exe\"\r\n",
	"Content-Disposition: attachment; filename=a.txt; filename=evil.exe. \r\n",
};

/* Octets of the input that cannot end the structure they stand in by accident: no line of theirs is a header. */
static void
noise(struct cur *c, struct buf *out)
{
	struct span s = cur_take(c, cur_left(c) < 40 ? cur_left(c) : 40);
	for (size_t i = 0; i < s.n; i++)
		buf_putc(out, s.p[i]);
	buf_puts(out, "\r\n");
}

static void
encode(struct buf *out, struct span s)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < s.n; i += 3) {
		uint32_t v = (uint32_t)s.p[i] << 16 | (uint32_t)(i + 1 < s.n ? s.p[i + 1] : 0) << 8 | (i + 2 < s.n ? s.p[i + 2] : 0);
		buf_putc(out, (unsigned char)alphabet[v >> 18]);
		buf_putc(out, (unsigned char)alphabet[v >> 12 & 63]);
		buf_putc(out, i + 1 < s.n ? (unsigned char)alphabet[v >> 6 & 63] : '=');
		buf_putc(out, i + 2 < s.n ? (unsigned char)alphabet[v & 63] : '=');
		if (i % 57 == 54)
			buf_puts(out, "\r\n");
	}
	buf_puts(out, "\r\n");
}

/* A part with the name, wrapped as the octets say; out: a whole message. */
static void
build(struct cur *c, struct buf *out)
{
	struct buf next;
	buf_init(&next, MESSAGE_MAX);
	buf_puts(out, fields[cur_u8(c) % NAMES]);
	buf_puts(out, "\r\nx\r\n");
	unsigned layers = cur_u8(c) % 6;
	for (unsigned i = 0; i <= layers && !out->over; i++) {
		unsigned how = i == layers ? 0 : cur_u8(c) % 4, shape = cur_u8(c);
		buf_reset(&next);
		if (how <= 1) { /* in a multipart, with what the octets put around it */
			buf_printf(&next, "Content-Type: multipart/%s; boundary=\"b%u\"%s\r\n\r\n", shape & 1 ? "mixed" : "alternative", i, shape & 2 ? "; boundary=other" : "");
			if (shape & 4)
				noise(c, &next);
			buf_printf(&next, "--b%u\r\n", i);
			if (shape & 8) {
				buf_puts(&next, "Content-Type: text/plain\r\n\r\n");
				noise(c, &next);
				buf_printf(&next, "--b%u\r\n", i);
			}
			buf_put(&next, buf_span(out));
			buf_printf(&next, "\r\n--b%u%s\r\n", i, shape & 16 ? "--" : "");
			if (shape & 32)
				noise(c, &next);
		} else if (how == 2) {
			buf_puts(&next, "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n");
			buf_put(&next, buf_span(out));
		} else {
			buf_puts(&next, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n");
			encode(&next, buf_span(out));
		}
		buf_reset(out);
		buf_put(out, buf_span(&next));
	}
	buf_reset(&next);
	buf_puts(&next, "From: a@example.com\r\nMIME-Version: 1.0\r\n");
	buf_put(&next, buf_span(out));
	buf_reset(out);
	buf_put(out, buf_span(&next));
	buf_fini(&next);
}

static bool
has_evil(const struct search *s)
{
	for (size_t i = 0; i < s->nparts; i++)
		for (size_t k = 0; k < s->parts[i].item.nnames; k++)
			if (span_eq_str(s->parts[i].item.names[k], "evil.exe"))
				return true;
	return false;
}

static void
check_planted(struct cur *c)
{
	struct buf message;
	struct search s;
	buf_init(&message, MESSAGE_MAX);
	build(c, &message);
	if (!message.over) {
		search_run(&s, buf_span(&message), &limits);
		BUG_ON(s.problem == NULL && !has_evil(&s));
		search_fini(&s);
	}
	buf_fini(&message);
}

static void
check_any(struct span in)
{
	static struct attachment_conf ac;
	static struct judge judge;
	struct search s;
	struct err e;
	if (ac.rules == NULL) {
		ac.rules = attachment_rules_new();
		ac.unreadable = ATTACHMENT_QUARANTINE;
		ac.notes[0] = SPAN("${name} was removed: ${reason}\n-- \n");
		ac.nnotes = 1;
		BUG_ON(attachment_rule_parse(ac.rules, NULL, SPAN("strip name=*e*"), "t", &e) != RC_OK);
		BUG_ON(attachment_rule_parse(ac.rules, NULL, SPAN("strip real=executable,archive"), "t", &e) != RC_OK);
		BUG_ON(attachment_rule_parse(ac.rules, NULL, SPAN("tag deceptive"), "t", &e) != RC_OK);
		judge = (struct judge){ .conf = &ac, .limits = limits };
	}
	search_run(&s, in, &limits);
	for (size_t i = 0; i < s.nparts; i++) {
		const struct search_part *p = &s.parts[i];
		BUG_ON(p->owner >= s.nparts || s.parts[p->owner].owner != p->owner);
		BUG_ON(p->owner == i && (p->head > p->body || p->body > p->body_late || p->end > in.n || p->end_tree > in.n));
		for (size_t k = 0; k < p->item.nnames; k++)
			BUG_ON(!span_is_utf8(p->item.names[k]) || !span_is_printable(p->item.names[k]));
	}
	search_fini(&s);

	size_t header_len = span_find(in, SPAN("\r\n\r\n"));
	struct span rcpts[] = { SPAN("a@b.c") };
	struct wire_question q = { .about = { .rcpts = rcpts, .nrcpts = 1 }, .queue_id = SPAN("Q"), .message = in,
		.header_len = header_len == SIZE_MAX ? in.n : header_len + 4 };
	struct wire_answer a, back, again;
	struct arena room;
	struct buf body, encoded, whole;
	arena_init(&room, 16 << 20);
	buf_init(&body, MESSAGE_MAX * 8);
	buf_init(&encoded, WIRE_ANSWER_MAX);
	buf_init(&whole, MESSAGE_MAX * 16);
	judge_message(&judge, &q, &room, &body, &a);
	wire_put_answer(&encoded, &a);
	BUG_ON(wire_get_answer(buf_span(&encoded), &back) != RC_OK || back.outcome != a.outcome || !span_eq(back.reason, a.reason));
	if (a.outcome == WIRE_STRIP && !a.replaces_top) {
		struct buf second;
		buf_init(&second, MESSAGE_MAX * 16);
		buf_put(&whole, span_head(in, (size_t)q.header_len));
		buf_put(&whole, a.body);
		q.message = buf_span(&whole);
		judge_message(&judge, &q, &room, &second, &again);
		BUG_ON(again.outcome != WIRE_PASS && again.outcome != WIRE_TAG);
		buf_fini(&second);
	}
	buf_fini(&whole);
	buf_fini(&encoded);
	buf_fini(&body);
	arena_fini(&room);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_of(p, n);
	search_prepare();
	if (n == 0 || n > MESSAGE_MAX)
		return 0;
	if (in.p[0] & 1) {
		struct cur c = cur_of(span_from(in, 1));
		check_planted(&c);
	} else {
		check_any(span_from(in, 1));
	}
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/search.h"

/*
 * winmail.dat ([MS-OXTNEF]): a row of attributes. Names and data of the attachments are in three of them and in the list of
 * MAPI properties of each attachment; the rest is passed over. Lists are read as far as they make sense.
 */

enum {
	ATT_TITLE = 0x18010, ATT_DATA = 0x6800f, ATT_REND = 0x69002, ATT_PROPS = 0x69005,
	PROP_LONG_NAME = 0x3707, PROP_NAME = 0x3704, PROP_DISPLAY = 0x3001, PROP_EXTENSION = 0x3703, PROP_TYPE = 0x370e, PROP_DATA = 0x3701,
	PROPS_MAX = 4096, VALUES_MAX = 4096,
};

struct tnef {
	struct search *s;
	uint32_t part;               /* winmail.dat */
	unsigned depth;
	bool any;                    /* an attachment is at hand */
	struct reading names;
	struct span data;
};

static void
flush(struct tnef *t)
{
	struct search *s = t->s;
	if (t->any && search_count_member(s)) {
		uint32_t at = search_add(s, &t->names, ATTACHMENT_MEMBER, s->parts[t->part].owner);
		if (at != SEARCH_NOWHERE && search_count_unpacked(s, t->data.n))
			content_decoded(s, at, t->data, t->depth);
	}
	t->any = false;
	t->data = SPAN_EMPTY;
	reading_init(&t->names, &s->arena);
}

/* Octets of a value of fixed size; 0: it has a count and sizes; SIZE_MAX: unknown. */
static size_t
value_size(unsigned type)
{
	switch (type & 0xefff) {
	case 0x0002: case 0x0003: case 0x0004: case 0x000a: case 0x000b:
		return 4;
	case 0x0005: case 0x0006: case 0x0007: case 0x0014: case 0x0040:
		return 8;
	case 0x0048:
		return 16;
	case 0x000d: case 0x001e: case 0x001f: case 0x0102:
		return 0;
	default:
		return SIZE_MAX;
	}
}

static void
take_value(struct tnef *t, unsigned id, unsigned type, struct span v)
{
	if (id == PROP_LONG_NAME || id == PROP_NAME || id == PROP_DISPLAY || id == PROP_EXTENSION) {
		struct buf text;
		buf_init(&text, v.n * 4 + 64);
		t->any = true;
		if ((type & 0xfff) == 0x1f && names_charset(SPAN("UTF-16LE"), v, &text) == RC_OK)
			reading_name(&t->names, buf_span(&text));
		else
			reading_name(&t->names, v);
		buf_fini(&text);
	} else if (id == PROP_TYPE) {
		reading_type(&t->names, v);
	} else if (id == PROP_DATA && v.n > 0) {
		t->any = true;
		if (v.n > t->data.n) /* an attached message begins with the 16 octets of an interface's identity */
			t->data = (type & 0xfff) == 0x0d ? span_from(v, 16) : v;
	}
}

static void
pad(struct cur *c, size_t n)
{
	(void)cur_take(c, (4 - n % 4) % 4 < cur_left(c) ? (4 - n % 4) % 4 : cur_left(c));
}

/* A list of MAPI properties. */
static void
read_props(struct tnef *t, struct span list)
{
	struct cur c = cur_of(list);
	uint32_t n = cur_u32(&c);
	for (uint32_t i = 0; i < n && i < PROPS_MAX && !c.bad; i++) {
		unsigned type = cur_u16(&c), id = cur_u16(&c);
		size_t size = value_size(type);
		if (id >= 0x8000) { /* named: a GUID, then a number or a name */
			(void)cur_take(&c, 16);
			if (cur_u32(&c) == 0) {
				(void)cur_u32(&c);
			} else {
				uint32_t len = cur_u32(&c);
				(void)cur_take(&c, len);
				pad(&c, len);
			}
		}
		uint32_t values = size == 0 || (type & 0x1000) != 0 ? cur_u32(&c) : 1;
		if (size == SIZE_MAX || values > VALUES_MAX)
			return;
		for (uint32_t v = 0; v < values && !c.bad; v++) {
			uint32_t len = size == 0 ? cur_u32(&c) : (uint32_t)size;
			struct span value = cur_take(&c, len);
			pad(&c, len);
			if (!c.bad)
				take_value(t, id, type, value);
		}
	}
}

void
tnef_read(struct search *s, uint32_t part, struct span data, unsigned archive_depth)
{
	struct tnef t = { .s = s, .part = part, .depth = archive_depth };
	struct cur c = cur_of(data);
	reading_init(&t.names, &s->arena);
	(void)cur_u32(&c);
	(void)cur_u16(&c);
	while (cur_left(&c) >= 9 && !c.bad) {
		(void)cur_u8(&c);
		uint32_t id = cur_u32(&c), len = cur_u32(&c);
		struct span value = cur_take(&c, len);
		if (c.bad) {
			search_problem(s, "winmail.dat is damaged");
			break;
		}
		(void)cur_u16(&c); /* a checksum nobody looks at */
		if (id == ATT_REND) { /* the next attachment begins */
			flush(&t);
			t.any = true;
		} else if (id == ATT_TITLE) {
			t.any = true;
			reading_name(&t.names, value);
		} else if (id == ATT_DATA) {
			t.any = true;
			t.data = value;
		} else if (id == ATT_PROPS) {
			read_props(&t, value);
		}
	}
	flush(&t);
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/milter_route.h"

#include "base/mem.h"

enum { VALUE_MAX = 4096 };

struct milter_route {
	struct map_list *transport, *relayhost; /* sender_dependent_default_transport_maps, sender_dependent_relayhost_maps */
	struct span null_transport, null_relayhost; /* keys of the null sender */
	struct span anybodys;        /* relayhost */
};

enum rc
milter_route_open(struct conf *c, const struct service *s, struct milter_route **out, struct err *e)
{
	const struct params *p = s->params;
	struct milter_route *m = *out = mem_zalloc(sizeof *m);
	m->null_transport = span_str(p->p_empty_address_default_transport_maps_lookup_key);
	m->null_relayhost = span_str(p->p_empty_address_relayhost_maps_lookup_key);
	m->anybodys = span_str(p->p_relayhost);
	enum rc rc = maps_open_param(c, NULL, "sender_dependent_default_transport_maps", &m->transport, e);
	return rc == RC_OK ? maps_open_param(c, NULL, "sender_dependent_relayhost_maps", &m->relayhost, e) : rc;
}

void
milter_route_free(struct milter_route **rp)
{
	struct milter_route *m = *rp;
	*rp = NULL;
	if (m == NULL)
		return;
	map_list_free(&m->transport);
	map_list_free(&m->relayhost);
	mem_free(&m);
}

/* The value for a sender, kept in out; empty: there is none. */
static struct span
by_sender(const struct address_book *book, const struct map_list *l, struct span null_key, struct span sender, struct buf *out)
{
	struct buf scratch;
	struct span value = SPAN_EMPTY, kept = SPAN_EMPTY;
	struct err e;
	if (map_list_empty(l))
		return kept;
	buf_init(&scratch, VALUE_MAX);
	enum rc rc = sender.n == 0 ? map_find(l, null_key, 0, &scratch, &value, &e) : address_find_mail(book, l, sender, &scratch, &value, &e);
	if (rc == RC_OK && !span_caseeq_str(value, "DUNNO")) {
		size_t at = buf_len(out);
		buf_put(out, value);
		kept = span_from(buf_span(out), at);
	}
	buf_fini(&scratch);
	return kept;
}

void
milter_route_find(const struct milter_route *m, const struct address_book *book, const struct resolved *r, struct span sender, struct buf *out,
    struct span *transport_out, struct span *nexthop_out)
{
	struct buf scratch;
	struct span to = SPAN_EMPTY, hop = SPAN_EMPTY;
	struct err e;
	buf_reset(out);
	(void)buf_reserve(out, 4 * VALUE_MAX); /* what is in it stays where it is */
	buf_init(&scratch, VALUE_MAX);
	address_class_transport(book, r->class, transport_out, nexthop_out);
	if (address_transport(book, r, &scratch, &to, &hop, &e) != RC_OK)
		to = hop = SPAN_EMPTY;
	buf_put(out, to);
	buf_put(out, hop);
	struct span row = buf_span(out);
	if (to.n > 0) {
		*transport_out = span_head(row, to.n);
		*nexthop_out = span_from(row, to.n);
	} else {
		struct span value = r->class == CLASS_DEFAULT ? by_sender(book, m->transport, m->null_transport, sender, out) : SPAN_EMPTY;
		if (value.n > 0)
			address_split_transport(value, transport_out, nexthop_out);
		if (hop.n > 0)
			*nexthop_out = row;
		if (nexthop_out->n == 0 && (r->class == CLASS_DEFAULT || r->class == CLASS_RELAY)) {
			*nexthop_out = by_sender(book, m->relayhost, m->null_relayhost, sender, out);
			if (nexthop_out->n == 0)
				*nexthop_out = m->anybodys;
		}
	}
	if (nexthop_out->n == 0)
		*nexthop_out = r->domain;
	buf_fini(&scratch);
}

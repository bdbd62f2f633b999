/* SPDX-License-Identifier: BSD-2-Clause */
/* smtp_generic_maps, lmtp_generic_maps: one lookup, no second turn. */
#include "base/mem.h"
#include "map/remote.h"
#include "policy/rewriter.h"

struct generic {
	struct address_book *book;
	struct map_list *maps;
	bool propagate;
};

enum rc
generic_open(struct conf *c, const struct service *s, const char *parameter, struct generic **out, struct err *e)
{
	struct generic *g = *out = mem_zalloc(sizeof *g);
	bool bad = false;
	if (maps_open_param(c, s, parameter, &g->maps, e) != RC_OK)
		bad = true;
	if (!map_list_empty(g->maps)) {
		if (address_book_open_domains(c, s, &g->book, e) != RC_OK)
			bad = true;
		g->propagate = (propagate_words(c, s, &bad) & PROPAGATE_GENERIC) != 0;
	}
	return bad ? RC_PERM : RC_OK;
}

void
generic_free(struct generic **gp)
{
	struct generic *g = *gp;
	*gp = NULL;
	if (g == NULL)
		return;
	address_book_free(&g->book);
	map_list_free(&g->maps);
	mem_free(&g);
}

bool
generic_is_idle(const struct generic *g)
{
	return g == NULL || map_list_empty(g->maps);
}

enum rc
generic_address(const struct generic *g, struct span addr, struct buf *out, struct span *out_addr, struct err *e)
{
	struct mapping m;
	*out_addr = addr;
	if (generic_is_idle(g) || addr.n == 0)
		return RC_OK;
	if (map_asked() && !map_asks_more()) /* of a header with thousands of addresses */
		return err_set(e, RC_TEMP, "a table is still being asked");
	mapping_init(&m, g->book);
	enum rc rc = mapping_find(&m, g->maps, addr, g->propagate, e);
	if (rc == RC_OK) {
		if (mapping_next(&m, out) == RC_OK)
			*out_addr = buf_span(out);
		else
			rc = err_set(e, RC_TEMP, "the result of a lookup is no address");
	}
	mapping_fini(&m);
	return rc == RC_NONE ? RC_OK : rc;
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/mapping.h"

#include "msg/addr.h"

void
mapping_init(struct mapping *m, const struct address_book *book)
{
	*m = (struct mapping){ .book = book };
	buf_init(&m->scratch, MAPPING_TEXT_MAX);
	buf_init(&m->text, MAPPING_TEXT_MAX + 2 * ADDRESS_MAX);
	buf_init(&m->word, ADDRESS_MAX);
}

void
mapping_fini(struct mapping *m)
{
	buf_fini(&m->scratch);
	buf_fini(&m->text);
	buf_fini(&m->word);
}

enum rc
mapping_value(const struct address_book *book, const struct map_list *l, struct span addr, struct buf *scratch, struct span *value_out,
    struct span *ext_out, struct err *e)
{
	struct mapkeys keys;
	struct mapkey key;
	*value_out = *ext_out = SPAN_EMPTY;
	if (map_list_empty(l) || addr.n == 0)
		return RC_NONE;
	struct map_addr a = address_split(book, addr);
	bool fixed = map_list_has_fixed(l), own = false;
	enum rc rc = RC_NONE;
	if (fixed && a.domain.n > 0) {
		rc = address_own_domain(book, a.domain, e);
		own = rc == RC_OK;
		if (rc != RC_OK && rc != RC_NONE)
			return RC_TEMP;
		rc = RC_NONE;
	}
	mapkeys_init(&keys, MAPKEY_MAIL, &a, false, own);
	while (rc == RC_NONE && mapkeys_next(&keys, &key)) {
		if (key.partial && !fixed)
			continue;
		rc = map_find(l, key.key, key.partial ? MAP_PARTIAL : 0, scratch, value_out, e);
		if (rc == RC_OK && key.without_ext)
			*ext_out = a.ext;
	}
	mapkeys_fini(&keys);
	return rc == RC_PERM ? RC_TEMP : rc;
}

enum rc
mapping_find(struct mapping *m, const struct map_list *l, struct span addr, bool propagate, struct err *e)
{
	struct span value, ext;
	enum rc rc = mapping_value(m->book, l, addr, &m->scratch, &value, &ext, e);
	if (rc != RC_OK)
		return rc;
	if (value.n > 0 && value.p[0] == '@') { /* the same user there; its extension comes back below */
		size_t at = span_rchr(addr, '@');
		struct span local = at == SIZE_MAX ? addr : span_head(addr, at);
		struct addr user = { .local = span_head(local, local.n - ext.n), .text = local };
		buf_reset(&m->text);
		addr_write(&m->text, &user);
		buf_put(&m->text, value);
		value = buf_span(&m->text);
		if (m->text.over)
			return err_set(e, RC_TEMP, "the result of a lookup is too long");
	}
	m->ext = propagate ? ext : SPAN_EMPTY;
	m->list = ADDRLIST(value);
	struct addrlist probe = m->list;
	if (!addrlist_next(&probe, &m->word))
		return err_set(e, RC_TEMP, "the result of a lookup is no address");
	return RC_OK;
}

enum rc
mapping_next(struct mapping *m, struct buf *out)
{
	if (!addrlist_next(&m->list, &m->word))
		return RC_NONE;
	buf_reset(out);
	struct span text = m->list.text;
	if (m->list.too_long || !span_is_printable(text) || address_standard(m->book, text, out) != RC_OK)
		return RC_PERM;
	if (m->ext.n == 0)
		return RC_OK;
	buf_reset(&m->word); /* text is done with */
	buf_put(&m->word, buf_span(out));
	struct span whole = buf_span(&m->word);
	size_t at = span_rchr(whole, '@');
	buf_reset(out);
	buf_put(out, at == SIZE_MAX ? whole : span_head(whole, at));
	buf_put(out, m->ext);
	buf_put(out, at == SIZE_MAX ? SPAN_EMPTY : span_from(whole, at));
	return out->over ? RC_PERM : RC_OK;
}

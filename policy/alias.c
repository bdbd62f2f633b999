/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/alias.h"

#include "base/mem.h"

enum { NAMED_MAX = 50, LISTS_DEEP = 20, WORD_MAX = 4096 };

struct aliases {
	struct conf *conf;
	const struct service *service;
	const struct address_book *book;
	struct map_list *maps;
	/* while loading */
	unsigned named;              /* problems told about */
	unsigned depth;
};

/* ---- values ---- */

bool
alias_next(struct addrlist *l, struct buf *word, enum alias_kind *kind_out, struct span *text_out)
{
	static const struct span include = { (const unsigned char *)":include:", 9 };
	if (!addrlist_next(l, word))
		return false;
	struct span s = *text_out = l->text;
	*kind_out = l->no_alias ? ALIAS_MAILBOX : ALIAS_ADDRESS;
	if (s.n > 0 && s.p[0] == '|') {
		*kind_out = ALIAS_COMMAND;
	} else if (s.n > 0 && s.p[0] == '/') {
		*kind_out = ALIAS_FILE;
	} else if (span_casestarts(s, include)) {
		*kind_out = ALIAS_INCLUDE;
		*text_out = span_from(s, include.n);
	}
	return true;
}

bool
alias_list_line(struct span *rest, struct span *line_out)
{
	while (rest->n > 0) {
		size_t end = span_chr(*rest, '\n');
		struct span line = span_trim(span_head(*rest, end));
		*rest = end == SIZE_MAX ? SPAN_EMPTY : span_from(*rest, end + 1);
		*line_out = line;
		if (line.n > 0 && line.p[0] != '#')
			return true;
	}
	return false;
}

enum rc
alias_list(const struct aliases *al, struct span path, struct span *text_out, struct err *e)
{
	char name[1024];
	if (path.n == 0 || path.n >= sizeof name || path.p[0] != '/' || span_chr(path, '\0') != SIZE_MAX)
		return err_set(e, RC_TEMP, "an :include: list needs a full path");
	memcpy(name, path.p, path.n);
	name[path.n] = '\0';
	return conf_file(al->conf, name, text_out, e) == RC_OK ? RC_OK : RC_TEMP;
}

/* ---- while loading: what the tables name ---- */

struct entry {
	struct aliases *al;
	const char *table;
	struct span key;
};

static void
complain(struct entry *it, const char *what, struct span text)
{
	if (it->al->named++ == NAMED_MAX)
		conf_problem(it->al->conf, CONF_WARNING, it->al->service, "alias_maps", "alias_maps: and more such aliases");
	if (it->al->named > NAMED_MAX)
		return;
	conf_problem(it->al->conf, CONF_WARNING, it->al->service, "alias_maps", "alias_maps: %s: alias \"%.*s\": %s: %.*s", it->table,
	    (int)(it->key.n < 64 ? it->key.n : 64), (const char *)it->key.p, what, (int)(text.n < 100 ? text.n : 100), (const char *)text.p);
}

static void look_at(struct entry *it, struct span value);

static void
look_at_list(struct entry *it, struct span path)
{
	struct span text, line;
	struct err e = { .why = "" };
	struct aliases *al = it->al;
	if (al->depth == LISTS_DEEP) {
		complain(it, "lists within lists are nested too deep", path);
		return;
	}
	if (alias_list(al, path, &text, &e) != RC_OK) {
		complain(it, e.why, path);
		return;
	}
	al->depth++;
	while (alias_list_line(&text, &line))
		look_at(it, line);
	al->depth--;
}

/* A local address that is no alias: nobody takes its mail. */
static void
look_at_address(struct entry *it, struct span text)
{
	struct aliases *al = it->al;
	struct resolved *r = mem_alloc(sizeof *r);
	struct buf full, scratch;
	struct span value;
	buf_init(&full, ADDRESS_MAX);
	buf_init(&scratch, 256 * 1024);
	if (address_standard(al->book, text, &full) != RC_OK || address_resolve(al->book, buf_span(&full), r, NULL) != RC_OK || r->is_bad) {
		complain(it, "cannot be an address", text);
	} else if (address_is_aliased(al->book, r, &scratch, NULL) == RC_OK) {
		struct map_addr a = address_split(al->book, r->addr);
		if (address_alias(al->book, &a, &scratch, &value, NULL, NULL) == RC_NONE)
			complain(it, "is no alias, and there are no mailboxes here", text);
	}
	buf_fini(&full);
	buf_fini(&scratch);
	mem_free(&r);
}

static void
look_at(struct entry *it, struct span value)
{
	struct addrlist l = ADDRLIST(value);
	struct buf word;
	enum alias_kind kind;
	struct span text;
	buf_init(&word, WORD_MAX);
	while (alias_next(&l, &word, &kind, &text))
		switch (kind) {
		case ALIAS_ADDRESS:
			look_at_address(it, text);
			break;
		case ALIAS_INCLUDE:
			look_at_list(it, text);
			break;
		case ALIAS_COMMAND:
			complain(it, "mail is not given to commands here, it will be refused", text);
			break;
		case ALIAS_FILE:
			complain(it, "mail is not written to files here, it will be refused", text);
			break;
		case ALIAS_MAILBOX:
			complain(it, "there are no mailboxes here, the mail will be refused", text);
			break;
		}
	buf_fini(&word);
}

static bool
look_at_entry(void *arg, const char *table, struct span key, struct span value)
{
	struct entry it = { .al = arg, .table = table, .key = key };
	look_at(&it, value);
	return true;
}

/* ---- opening ---- */

enum rc
aliases_open(struct conf *c, const struct service *s, const struct address_book *book, struct aliases **out, struct err *e)
{
	*out = NULL;
	if (!address_has_aliases(book))
		return RC_OK;
	struct aliases *al = *out = mem_zalloc(sizeof *al);
	al->conf = conf_ref(c);
	al->service = s;
	al->book = book;
	enum rc rc = maps_open_param(c, s, "alias_maps", &al->maps, e);
	if (conf_is_loader(c))
		map_list_each(al->maps, look_at_entry, al);
	return rc;
}

void
aliases_free(struct aliases **ap)
{
	struct aliases *al = *ap;
	*ap = NULL;
	if (al == NULL)
		return;
	map_list_free(&al->maps);
	conf_unref(&al->conf);
	mem_free(&al);
}

/* ---- what is wrong with one ---- */

enum rc
alias_trouble(const struct aliases *al, const struct resolved *r, struct buf *scratch, struct span *dsn_out, struct span *text_out,
    struct err *e)
{
	struct span value, text;
	enum alias_kind kind;
	struct buf word;
	enum rc rc = al == NULL ? RC_NONE : address_is_aliased(al->book, r, scratch, e);
	if (rc != RC_OK)
		return rc;
	struct map_addr a = address_split(al->book, r->addr);
	rc = address_alias(al->book, &a, scratch, &value, NULL, e);
	if (rc != RC_OK)
		return rc;
	*dsn_out = SPAN("5.4.6");
	*text_out = SPAN("mail forwarding loop");
	struct addrlist l = ADDRLIST(value);
	buf_init(&word, WORD_MAX);
	for (bool found = false; !found && alias_next(&l, &word, &kind, &text);) {
		found = kind == ALIAS_COMMAND || kind == ALIAS_FILE || kind == ALIAS_MAILBOX;
		if (!found)
			continue;
		*dsn_out = kind == ALIAS_MAILBOX ? SPAN("5.1.1") : SPAN("5.7.1");
		*text_out = kind == ALIAS_COMMAND ? SPAN("mail to command is restricted")
		    : kind == ALIAS_FILE          ? SPAN("mail to file is restricted")
		                                  : SPAN("mail for local users is not delivered here");
	}
	buf_fini(&word);
	return RC_OK;
}

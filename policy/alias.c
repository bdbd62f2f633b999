/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/alias.h"

#include "base/htab.h"
#include "base/mem.h"
#include "map/built.h"

enum { NAMED_MAX = 50, LISTS_DEEP = 20, WORD_MAX = 4096 };

struct aliases {
	struct conf *conf;
	const struct service *service;
	const struct address_book *book;
	struct map_list *maps;
	/* while loading */
	unsigned named;              /* problems told about */
	unsigned depth;
	struct htab lists;           /* of struct read_list: each is looked at once, however often it is named */
};

struct read_list {
	struct hnode by_path;
	size_t n;
	unsigned char path[];
};

/* ---- values ---- */

bool
alias_next(struct addrlist *l, struct buf *word, enum alias_kind *kind_out, struct span *text_out)
{
	static const struct span include = { (const unsigned char *)":include:", 9 };
	if (!addrlist_next(l, word))
		return false;
	struct span s = *text_out = l->text;
	*kind_out = l->no_alias ? ALIAS_MAILBOX : ALIAS_ADDRESS; /* one that is too long: the empty address, which is none */
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
	return conf_file_of_user(al->conf, name, text_out, e) == RC_OK ? RC_OK : RC_TEMP;
}

/* ---- while loading: what the tables name ---- */

struct entry {
	struct aliases *al;
	const char *table;
	struct span key;
	struct span list;            /* the list that is being looked at; empty: the table itself */
	int line;                    /* in the list */
	const struct entry *outer;
};

/* The line of a table's text that has the key; 0 when it has no text, or none is found. */
static int
line_of(const struct entry *it, char *path, size_t size)
{
	static const char *const types[] = { "hash:", "btree:", "lmdb:", "cdb:", "dbm:", "sdbm:", "texthash:" };
	struct span name = span_str(it->table);
	struct conf_version version;
	struct source_entry entry;
	struct source source;
	struct buf text;
	int found = 0;
	if (span_starts(name, SPAN("proxy:")))
		name = span_from(name, 6);
	for (size_t i = 0; i < NELEMS(types); i++) {
		size_t n = strlen(types[i]);
		if (!span_starts(name, span_str(types[i])))
			continue;
		bool full = name.n > n && name.p[n] == '/';
		snprintf(path, size, "%s%s%.*s", full ? "" : conf_directory(it->al->conf), full ? "" : "/", (int)(name.n - n), (const char *)name.p + n);
		if (built_read_source(path, &text, &version, NULL) == RC_OK) {
			source_init(&source, buf_span(&text), i == NELEMS(types) - 1 ? SOURCE_MAP : SOURCE_ALIASES);
			while (found == 0 && source_next(&source, &entry) == RC_OK)
				if (entry.usable && span_caseeq(entry.key, it->key))
					found = entry.lineno;
			source_fini(&source);
		}
		buf_fini(&text);
		break;
	}
	return found;
}

static void
complain(struct entry *it, const char *what, struct span text)
{
	char path[1024], where[1100];
	if (it->al->named++ == NAMED_MAX)
		conf_problem(it->al->conf, CONF_WARNING, it->al->service, "alias_maps", "alias_maps: and more such aliases");
	if (it->al->named > NAMED_MAX)
		return;
	int line = it->list.n > 0 ? it->line : line_of(it, path, sizeof path);
	if (it->list.n > 0)
		snprintf(where, sizeof where, "%.*s:%d", (int)(it->list.n < 1000 ? it->list.n : 1000), (const char *)it->list.p, line);
	else if (line > 0)
		snprintf(where, sizeof where, "%.1000s:%d", path, line);
	else
		snprintf(where, sizeof where, "%.1000s", it->table);
	conf_problem(it->al->conf, CONF_WARNING, it->al->service, "alias_maps", "alias_maps: %s: alias \"%.*s\": %s: %.*s", where,
	    (int)(it->key.n < 64 ? it->key.n : 64), (const char *)it->key.p, what, (int)(text.n < 100 ? text.n : 100), (const char *)text.p);
}

static void look_at(struct entry *it, struct span value);

/* Is it the first time? */
static bool
first_look(struct aliases *al, struct span path)
{
	uint64_t hash = span_hash(path);
	for (struct hnode *n = htab_first(&al->lists, hash); n != NULL; n = htab_next(n)) {
		const struct read_list *l = container_of(n, struct read_list, by_path);
		if (span_eq(span_of(l->path, l->n), path))
			return false;
	}
	struct read_list *l = mem_alloc(sizeof *l + path.n);
	l->n = path.n;
	memcpy(l->path, path.p, path.n);
	htab_insert(&al->lists, &l->by_path, hash);
	return true;
}

static void
forget_lists(struct aliases *al)
{
	struct hnode *next = htab_walk(&al->lists, NULL);
	for (struct hnode *n = next; n != NULL; n = next) {
		struct read_list *l = container_of(n, struct read_list, by_path);
		next = htab_walk(&al->lists, n);
		htab_remove(&al->lists, n);
		mem_free(&l);
	}
	htab_fini(&al->lists);
}

static void
look_at_list(struct entry *it, struct span path)
{
	struct span text, line;
	struct err e = { .why = "" };
	struct aliases *al = it->al;
	int lines = 0;
	for (const struct entry *up = it; up != NULL; up = up->outer)
		if (span_eq(up->list, path)) {
			complain(it, "a list within itself", path);
			return;
		}
	if (al->depth == LISTS_DEEP) {
		complain(it, "lists within lists are nested too deep", path);
		return;
	}
	if (alias_list(al, path, &text, &e) != RC_OK) {
		complain(it, e.why, path);
		return;
	}
	if (!first_look(al, path))
		return;
	struct entry inside = { .al = al, .table = it->table, .key = it->key, .list = path, .outer = it };
	const unsigned char *begin = text.p;
	al->depth++;
	while (alias_list_line(&text, &line)) {
		for (inside.line = 1; begin < line.p; begin++)
			lines += *begin == '\n';
		inside.line += lines;
		look_at(&inside, line);
	}
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
	if (span_casestarts(key, SPAN("owner-")))
		complain(&it, "it does not become the sender of what its list sends on", key);
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
	forget_lists(al);
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
	*dsn_out = SPAN("5.1.1");
	*text_out = SPAN("the alias has no recipients");
	struct addrlist l = ADDRLIST(value);
	buf_init(&word, WORD_MAX);
	for (bool found = false; !found && alias_next(&l, &word, &kind, &text);) {
		if (kind == ALIAS_ADDRESS && (span_caseeq(text, a.local) || span_caseeq(text, r->addr)))
			kind = ALIAS_MAILBOX; /* a name that leads to itself */
		if (kind == ALIAS_ADDRESS) { /* they came back to it */
			*dsn_out = SPAN("5.4.6");
			*text_out = SPAN("mail forwarding loop");
		}
		if (l.too_long || (kind == ALIAS_ADDRESS && text.n > ADDRESS_MAX)) {
			*dsn_out = SPAN("5.1.1");
			*text_out = SPAN("an address of the alias is too long");
			break;
		}
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

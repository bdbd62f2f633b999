/* SPDX-License-Identifier: BSD-2-Clause */
/* postscreen_access_list: words and tables, the first that says something counts. Facts 4.2. */
#include "base/mem.h"
#include "smtp/triage_conf.h"

enum { RESULT_MAX = 1024 };

struct item {
	enum { ITEM_PERMIT, ITEM_REJECT, ITEM_DUNNO, ITEM_NETWORKS, ITEM_TABLE, ITEM_BAD } kind;
	const char *name;                    /* owned */
	struct map_list *table;
};

struct triage_acl {
	struct item *items;
	size_t n;
	struct matchlist *networks;
};

static int
word_kind(struct span w)
{
	static const struct {
		const char *word;
		int kind;
	} words[] = { { "permit", ITEM_PERMIT }, { "reject", ITEM_REJECT }, { "dunno", ITEM_DUNNO }, { "permit_mynetworks", ITEM_NETWORKS } };
	for (size_t i = 0; i < NELEMS(words); i++)
		if (span_caseeq_str(w, words[i].word))
			return words[i].kind;
	return span_chr(w, ':') != SIZE_MAX ? ITEM_TABLE : ITEM_BAD;
}

void
triage_acl_free(struct triage_acl **ap)
{
	struct triage_acl *a = *ap;
	*ap = NULL;
	if (a == NULL)
		return;
	for (size_t i = 0; i < a->n; i++) {
		void *name = (void *)(uintptr_t)a->items[i].name;
		mem_free(&name);
		map_list_free(&a->items[i].table);
	}
	matchlist_free(&a->networks);
	mem_free(&a->items);
	mem_free(&a);
}

static enum rc
add(struct triage_acl *a, struct conf *c, const struct service *s, struct span word, struct err *e)
{
	struct item it = { .kind = word_kind(word) };
	char *name = mem_zalloc(word.n + 1);
	memcpy(name, word.p, word.n);
	it.name = name;
	enum rc rc = RC_OK;
	if (it.kind == ITEM_TABLE) {
		rc = maps_open(c, s, "postscreen_access_list", name, &it.table, e);
	} else if (it.kind == ITEM_BAD) {
		conf_problem(c, CONF_ERROR, s, "postscreen_access_list", "postscreen_access_list: unknown command: %s", name);
		rc = err_set(e, RC_PERM, "postscreen_access_list: unknown command");
	}
	a->items = mem_reallocarray(a->items, a->n + 1, sizeof *a->items);
	a->items[a->n++] = it;
	return rc;
}

enum rc
triage_acl_open(struct conf *c, const struct service *s, struct triage_acl **out, struct err *e)
{
	struct triage_acl *a = mem_zalloc(sizeof *a);
	struct span rest = span_str(conf_value(c, s, "postscreen_access_list")), word;
	enum rc rc, worst = matchlist_open_param(c, s, "mynetworks", MATCH_ADDRESS, &a->networks, e);
	bool group;
	while ((rc = conf_item(&rest, &word, &group)) == RC_OK) {
		enum rc one = add(a, c, s, word, e);
		worst = worst != RC_OK ? worst : one;
	}
	if (rc != RC_NONE) {
		conf_problem(c, CONF_ERROR, s, "postscreen_access_list", "postscreen_access_list: unbalanced braces");
		worst = err_set(e, RC_PERM, "postscreen_access_list: unbalanced braces");
	}
	*out = a;
	return worst;
}

static enum triage_listed
trouble(struct err *e, const char *origin, const char *name, const char *what)
{
	(void)err_set(e, RC_TEMP, "%.200s: %.200s: %s -- ignoring the remainder of this access list", origin, name, what);
	return TRIAGE_TROUBLE;
}

static enum triage_listed
in_networks(const struct triage_acl *a, const struct ipaddr *client, const char *origin, struct err *e)
{
	switch (matchlist_addr(a->networks, client, NULL)) {
	case RC_OK:
		return TRIAGE_PERMIT;
	case RC_NONE:
		return TRIAGE_DUNNO;
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	return trouble(e, origin, "permit_mynetworks", "mynetworks lookup error");
}

/* A result is a list of words in turn. What is no word of ours ends everything, as in Postfix. */
static enum triage_listed
result(const struct triage_acl *a, const struct item *it, struct span value, const struct ipaddr *client, struct err *e)
{
	struct span word;
	while (span_word(&value, ", \t\r\n", &word)) {
		switch (word_kind(word)) {
		case ITEM_PERMIT: return TRIAGE_PERMIT;
		case ITEM_REJECT: return TRIAGE_REJECT;
		case ITEM_DUNNO: return TRIAGE_DUNNO;
		case ITEM_NETWORKS: {
			enum triage_listed l = in_networks(a, client, it->name, e);
			if (l != TRIAGE_DUNNO)
				return l;
			break;
		}
		default: {
			struct buf b;
			buf_init(&b, 200);
			buf_put_safe(&b, word, 100, false);
			(void)err_set(e, RC_TEMP, "%.200s: unknown command: %s -- ignoring the remainder of this access list", it->name, buf_cstr(&b));
			buf_fini(&b);
			return TRIAGE_TROUBLE;
		}
		}
	}
	return TRIAGE_DUNNO;
}

static enum triage_listed
in_table(const struct triage_acl *a, const struct item *it, const struct ipaddr *client, struct err *e)
{
	char text[IPADDR_TEXT];
	struct buf scratch;
	struct span value;
	enum triage_listed out = TRIAGE_DUNNO;
	buf_init(&scratch, RESULT_MAX);
	switch (map_find(it->table, span_of(text, ipaddr_text(client, text)), 0, &scratch, &value, NULL)) {
	case RC_OK:
		out = result(a, it, value, client, e);
		break;
	case RC_NONE:
		break;
	case RC_TEMP:
	case RC_PERM:
		out = trouble(e, "postscreen_access_list", it->name, "table lookup error");
	}
	buf_fini(&scratch);
	return out;
}

static enum triage_listed
ask_item(const struct triage_acl *a, const struct item *it, const struct ipaddr *client, bool *is_last, struct err *e)
{
	*is_last = true;
	switch (it->kind) {
	case ITEM_PERMIT: return TRIAGE_PERMIT;
	case ITEM_REJECT: return TRIAGE_REJECT;
	case ITEM_DUNNO: return TRIAGE_DUNNO;
	case ITEM_BAD: return trouble(e, "postscreen_access_list", it->name, "unknown command");
	case ITEM_NETWORKS:
	case ITEM_TABLE: break;
	}
	enum triage_listed says = it->kind == ITEM_TABLE ? in_table(a, it, client, e) : in_networks(a, client, "postscreen_access_list", e);
	*is_last = says != TRIAGE_DUNNO;
	return says;
}

enum triage_listed
triage_acl_eval(const struct triage_acl *a, const struct ipaddr *client, triage_acl_fn *told, void *arg, struct err *e)
{
	bool is_last = false;
	enum triage_listed says = TRIAGE_DUNNO;
	for (size_t i = 0; i < a->n && !is_last; i++) {
		says = ask_item(a, &a->items[i], client, &is_last, e);
		if (told != NULL)
			told(arg, a->items[i].name, says);
	}
	return says;
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "lookup/tables.h"

#include "base/log.h"
#include "base/mem.h"
#include "map/remote.h"

static struct table *
table_open(struct tables *ts, struct conf *c, struct span name, struct err *e)
{
	struct map_ctx ctx = { .conf = c };
	enum remote_kind kind;
	struct remote_table *spec = NULL;
	if (!remote_kind_of(name, &kind)) {
		err_set(e, RC_PERM, "not a table that is asked elsewhere");
		return NULL;
	}
	if (remote_table_open(&ctx, kind, name, &spec, e) != RC_OK) {
		remote_table_free(&spec);
		return NULL;
	}
	struct table *t = kind == REMOTE_SQLITE ? sqlite_table_new(spec) : stream_table_new(spec);
	t->spec = spec;
	t->conf = conf_ref(c);
	t->askers = map_remote_askers_of(c, spec->name);
	t->all = ts;
	list_init(&t->link);
	list_append(&ts->open, &t->link);
	return t;
}

static void
table_close(struct table *t)
{
	struct conf *c = t->conf;
	struct remote_table *spec = t->spec;
	list_remove(&t->link);
	t->ops->close(t);
	remote_table_free(&spec);
	conf_unref(&c);
}

/* Nobody new comes; it is closed when the last question is answered. */
static void
retire(struct table *t)
{
	list_remove(&t->link);
	if (t->under_way == 0) {
		table_close(t);
		return;
	}
	t->is_retired = true;
	list_append(&t->all->retired, &t->link);
}

static void
dig_table(struct grave *g)
{
	table_close(container_of(g, struct table, grave));
}

struct table *
tables_find(struct tables *ts, struct span name)
{
	for (struct list *l = ts->open.next; l != NULL && l != &ts->open; l = l->next) {
		struct table *t = list_entry(l, struct table, link);
		if (span_eq_str(name, t->spec->name))
			return t;
	}
	return NULL;
}

struct table *
tables_find_for(struct tables *ts, struct span name, unsigned asker)
{
	struct table *t = tables_find(ts, name);
	return t != NULL && ((t->askers | t->asked_by) & asker) != 0 ? t : NULL;
}

struct table *
tables_add(struct tables *ts, struct conf *c, struct span name, struct err *e)
{
	if (ts->open.next == NULL) {
		list_init(&ts->open);
		list_init(&ts->retired);
	}
	return table_open(ts, c, name, e);
}

void
tables_load(struct tables *ts, struct conf *c)
{
	struct span names = span_str(map_remote_tables(c)), name;
	struct list before;
	if (ts->open.next == NULL) {
		list_init(&ts->open);
		list_init(&ts->retired);
	}
	/* those that were not even named before go; the others are opened anew: their files may say something else */
	list_init(&before);
	list_splice(&before, &ts->open);
	list_each(l, &before)
		if (!list_entry(l, struct table, link)->is_named)
			retire(list_entry(l, struct table, link));
	while (span_word(&names, "\n", &name)) {
		struct err e = { 0 };
		struct table *t = table_open(ts, c, name, &e);
		if (t != NULL)
			t->is_named = true;
		else
			log_warn(NULL, "%s", e.why);
	}
	list_each(l, &before) {
		struct table *t = list_entry(l, struct table, link);
		struct table *next = tables_find(ts, span_str(t->spec->name));
		t->is_named = false;
		if (next != NULL) {
			next->asked_by = t->askers; /* sessions that began with it */
			retire(t);
		} else {
			list_remove(l);
			list_append(&ts->open, l);
		}
	}
}

void
tables_fini(struct tables *ts)
{
	if (ts->open.next == NULL)
		return;
	list_splice(&ts->open, &ts->retired);
	while (!list_empty(&ts->open))
		table_close(list_entry(ts->open.next, struct table, link));
}

void
table_ask(struct table *t, struct ask *a)
{
	list_init(&a->link);
	a->is_retried = false;
	a->until = loop_now() + conf_params(t->conf)->p_lookup_timeout;
	t->under_way++;
	t->asked++;
	t->ops->ask(t, a);
}

void
table_answer(struct table *t, struct ask *a, enum rc rc, struct span text)
{
	list_remove(&a->link);
	t->under_way--;
	if (rc == RC_TEMP || rc == RC_PERM)
		t->failed++;
	a->done(a, rc, text);
	if (t->is_retired && t->under_way == 0 && list_linked(&t->link)) {
		list_remove(&t->link);
		loop_bury(&t->grave, dig_table); /* the kind may still be at it in this turn */
	}
}

void
table_trouble(struct table *t, const char *why)
{
	if (!t->is_troubled && !t->is_quiet)
		log_warn(NULL, "%s: %s", t->spec->name, why);
	t->is_troubled = true;
}

void
table_works(struct table *t)
{
	if (t->is_troubled && !t->is_quiet)
		log_info(NULL, "%s: works again", t->spec->name);
	t->is_troubled = false;
}

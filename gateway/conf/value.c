/* SPDX-License-Identifier: BSD-2-Clause */
/* From settings and defaults to values: where a name is looked up, expansion, struct params. */
#include "base/mem.h"
#include "conf/snap.h"

#include <unistd.h>

/* Per-transport parameters (facts 7.4): the default of <transport>_<suffix> is the named one. */
static const struct {
	const char *suffix, *def;
} transport_suffixes[] = {
	{ "delivery_slot_cost", "default_delivery_slot_cost" },
	{ "delivery_slot_discount", "default_delivery_slot_discount" },
	{ "delivery_slot_loan", "default_delivery_slot_loan" },
	{ "destination_concurrency_failed_cohort_limit", "default_destination_concurrency_failed_cohort_limit" },
	{ "destination_concurrency_limit", "default_destination_concurrency_limit" },
	{ "destination_concurrency_negative_feedback", "default_destination_concurrency_negative_feedback" },
	{ "destination_concurrency_positive_feedback", "default_destination_concurrency_positive_feedback" },
	{ "destination_rate_delay", "default_destination_rate_delay" },
	{ "destination_recipient_limit", "default_destination_recipient_limit" },
	{ "extra_recipient_limit", "default_extra_recipient_limit" },
	{ "initial_destination_concurrency", "initial_destination_concurrency" },
	{ "minimum_delivery_slots", "default_minimum_delivery_slots" },
	{ "recipient_limit", "default_recipient_limit" },
	{ "recipient_refill_delay", "default_recipient_refill_delay" },
	{ "recipient_refill_limit", "default_recipient_refill_limit" },
	{ "time_limit", "command_time_limit" },
	{ "transport_rate_delay", "default_transport_rate_delay" },
};

size_t
snap_transport_suffix(struct span name, const char **default_name_out)
{
	size_t best = 0;
	for (size_t i = 0; i < NELEMS(transport_suffixes); i++) {
		size_t n = strlen(transport_suffixes[i].suffix);
		if (name.n < n + 2 || name.p[name.n - n - 1] != '_' || !span_eq_str(span_from(name, name.n - n), transport_suffixes[i].suffix))
			continue;
		size_t len = name.n - n - 1;
		if (best != 0 && len > best) /* the longest suffix: x_extra_recipient_limit is not x_extra's */
			continue;
		best = len;
		*default_name_out = transport_suffixes[i].def;
	}
	return best;
}

const char *
snap_suffix_at(size_t i)
{
	return i < NELEMS(transport_suffixes) ? transport_suffixes[i].suffix : NULL;
}

bool
snap_has_suffix(const struct service *s, struct span suffix)
{
	static const char *const agents[] = { "smtp", "lmtp", "error", "discard", "local", "virtual", "pipe" };
	if (strcmp(s->type, "unix") != 0)
		return false;
	if (span_eq(suffix, SPAN("time_limit")))
		return strcmp(s->command, "pipe") == 0 || strcmp(s->command, "spawn") == 0;
	for (size_t i = 0; i < NELEMS(agents); i++)
		if (strcmp(s->command, agents[i]) == 0)
			return true;
	return false;
}

/* "$name" as text that lives long enough: the suffix rows are constant, so are these. */
static bool
transport_default(const struct conf *c, struct span name, struct span *raw_out)
{
	const char *def;
	size_t n = snap_transport_suffix(name, &def);
	bool known = false;
	for (size_t i = 0; n != 0 && i < c->nsvc && !known; i++) {
		const struct service *s = &c->svcs[i]->pub;
		known = span_eq_str(span_head(name, n), s->name) && snap_has_suffix(s, span_from(name, n + 1));
	}
	if (!known)
		return false;
	if (span_eq(name, SPAN("local_destination_concurrency_limit")))
		*raw_out = SPAN("2");
	else if (span_eq(name, SPAN("local_destination_recipient_limit")))
		*raw_out = SPAN("1");
	else {
		struct conf *w = (struct conf *)(uintptr_t)c;
		struct buf b;
		buf_init(&b, 256);
		buf_putc(&b, '$');
		buf_puts(&b, def);
		*raw_out = span_str(snap_str(w, buf_span(&b)));
		buf_fini(&b);
	}
	return true;
}

/* What differs by service though nothing is set. */
static bool
is_service_name(struct span name)
{
	return span_eq(name, SPAN("service_name")) || span_eq(name, SPAN("process_name"));
}

bool
snap_default(const struct conf *c, const struct svc *svc, struct span name, struct span *raw_out)
{
	if (svc != NULL && span_eq(name, SPAN("service_name"))) {
		*raw_out = span_str(svc->pub.name);
		return true;
	}
	if (svc != NULL && span_eq(name, SPAN("process_name"))) {
		*raw_out = span_str(svc->pub.command);
		return true;
	}
	for (size_t i = 0; i < c->ncomputed; i++)
		if (span_eq_str(name, c->computed[i].name)) {
			*raw_out = span_str(c->computed[i].value);
			return true;
		}
	const struct param *row = param_find(name);
	if (row != NULL) {
		*raw_out = span_str(row->def);
		return true;
	}
	return transport_default(c, name, raw_out);
}

bool
snap_lookup(void *arg, struct span name, struct span *raw_out)
{
	struct view *v = arg;
	const struct setting *s = v->hides_settings ? NULL : snap_setting(v->c, v->svc, name);
	if (is_service_name(name))
		v->used_service = true;
	if (v->is_stressed && span_eq(name, SPAN("stress"))) {
		*raw_out = SPAN("yes");
		return true;
	}
	if (s != NULL) {
		*raw_out = span_str(s->value);
		return true;
	}
	return snap_default(v->c, v->svc, name, raw_out);
}

enum rc
snap_expand(struct view *v, struct span raw, const char **out, struct err *e)
{
	struct conf *c = (struct conf *)(uintptr_t)v->c;
	if (span_chr(raw, '$') == SIZE_MAX && raw.n > 0 && raw.p[raw.n] == '\0') {
		*out = (const char *)raw.p; /* settings and defaults are C strings already */
		return RC_OK;
	}
	struct buf b;
	buf_init(&b, EXPAND_MAX);
	enum rc rc = expand_text(snap_lookup, v, raw, &b, e);
	if (rc == RC_OK)
		*out = snap_str(c, span_trim(buf_span(&b)));
	buf_fini(&b);
	return rc;
}

static void
store(struct view *v, const struct param *row, struct params *p)
{
	struct conf *c = (struct conf *)(uintptr_t)v->c;
	const struct service *s = v->svc != NULL ? &v->svc->pub : NULL;
	struct span raw;
	struct err e;
	const char *text;
	bool known = snap_lookup(v, span_str(row->name), &raw);
	BUG_ON(!known);
	/* A default that is only another name: what is wrong is said where that name is set. */
	const char *def = row->def;
	bool borrowed = def[0] == '$' && strspn(def + 1, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(def + 1) &&
	                snap_setting(c, v->svc, span_str(row->name)) == NULL;
	if (row->type == PT_RAW) {
		text = raw.n > 0 ? (const char *)raw.p : "";
	} else if (snap_expand(v, raw, &text, &e) != RC_OK) {
		if (!borrowed)
			conf_problem(c, CONF_ERROR, s, row->name, "parameter %s: %s", row->name, e.why);
		text = NULL;
	}
	if (text != NULL && param_store(row, text, p, &e) == RC_OK)
		return;
	if (text != NULL && !borrowed)
		conf_problem(c, CONF_ERROR, s, row->name, "%s", e.why);
	/* The field holds something sensible whatever was wrong: the row's own default. */
	struct view plain = { .c = c, .hides_settings = true };
	if (snap_expand(&plain, span_str(row->def), &text, &e) != RC_OK || param_store(row, text, p, &e) != RC_OK) {
		bool ok = param_store(row, row->type <= PT_TIME ? (row->type == PT_BOOL ? "no" : "0") : "", p, &e) == RC_OK;
		(void)ok;
	}
}

/* May the value differ from main.cf's in this service? */
static bool
differs(const struct conf *c, const struct svc *svc, const struct param *row)
{
	struct span name = span_str(row->name), raw;
	for (size_t i = 0; i < svc->nset; i++)
		if (strcmp(svc->sets[i].name, row->name) == 0)
			return true;
	struct view v = { .c = c };
	return snap_lookup(&v, name, &raw) && (span_chr(raw, '$') != SIZE_MAX || v.used_service);
}

void
snap_fill(struct conf *c)
{
	bool by_service = false;
	for (size_t i = 0; i < param_count(); i++) {
		struct view v = { .c = c };
		store(&v, param_at(i), &c->params);
		by_service = by_service || (v.used_service && !is_service_name(span_str(param_at(i)->name)));
	}
	for (size_t k = 0; k < c->nsvc; k++) {
		struct svc *svc = c->svcs[k];
		svc->pub.params = &c->params;
		if (svc->nset == 0 && !by_service)
			continue;
		struct params *p = arena_alloc(&c->arena, sizeof *p);
		BUG_ON(p == NULL);
		*p = c->params;
		struct view v = { .c = c, .svc = svc };
		for (size_t i = 0; i < param_count(); i++)
			if (differs(c, svc, param_at(i)))
				store(&v, param_at(i), p);
		svc->pub.params = p;
	}
}

const char *
conf_value(const struct conf *c, const struct service *s, const char *name)
{
	const struct svc *svc = svc_of(s);
	const struct param *row = param_find(span_str(name));
	if (row != NULL && !is_service_name(span_str(name))) {
		const char *text = param_text(row, s != NULL ? s->params : &c->params);
		if (text != NULL)
			return text;
	}
	uint64_t hash = span_hash(span_str(name)) ^ (uintptr_t)svc;
	for (struct hnode *n = htab_first(&c->memos, hash); n != NULL; n = htab_next(n)) {
		const struct memo *m = container_of(n, struct memo, node);
		if (m->svc == svc && strcmp(m->name, name) == 0)
			return m->value;
	}
	struct conf *w = (struct conf *)(uintptr_t)c;
	struct view v = { .c = c, .svc = svc };
	struct span raw;
	struct err e;
	const char *value;
	if (!snap_lookup(&v, span_str(name), &raw))
		return NULL;
	if (snap_expand(&v, raw, &value, &e) != RC_OK) {
		if (c->loader)
			conf_problem(w, CONF_ERROR, s, name, "parameter %s: %s", name, e.why);
		value = "";
	}
	struct memo *m = arena_alloc(&w->arena, sizeof *m);
	BUG_ON(m == NULL);
	*m = (struct memo){ .svc = svc, .name = snap_str(w, span_str(name)), .value = value };
	htab_insert(&w->memos, &m->node, hash);
	return value;
}

int64_t
conf_stressed(const struct conf *c, const struct service *s, const char *name)
{
	const struct param *row = param_find(span_str(name));
	struct view v = { .c = c, .svc = svc_of(s), .is_stressed = true };
	struct params p = s != NULL ? *s->params : c->params; /* as it is when what is set cannot be read */
	struct span raw;
	const char *text;
	BUG_ON(row == NULL || (row->type != PT_TIME && row->type != PT_INT));
	if (snap_lookup(&v, span_str(name), &raw) && snap_expand(&v, raw, &text, NULL) == RC_OK)
		(void)!param_store(row, text, &p, NULL);
	int64_t out;
	memcpy(&out, (const unsigned char *)&p + row->offset, sizeof out);
	return out;
}

/* ---- per-transport parameters ---- */

const char *
conf_transport_str(const struct conf *c, const char *transport, const char *suffix)
{
	struct buf name;
	const char *def, *value = NULL;
	buf_init(&name, 1024);
	buf_puts(&name, transport);
	buf_putc(&name, '_');
	buf_puts(&name, suffix);
	value = conf_value(c, NULL, buf_cstr(&name));
	if (value == NULL && snap_transport_suffix(buf_span(&name), &def) != 0)
		value = conf_value(c, NULL, def);
	buf_fini(&name);
	return value != NULL ? value : "";
}

/* The row whose type, unit and range the per-transport parameter shares. */
static const struct param *
transport_row(const char *suffix)
{
	for (size_t i = 0; i < NELEMS(transport_suffixes); i++)
		if (strcmp(transport_suffixes[i].suffix, suffix) == 0)
			return param_find(span_str(transport_suffixes[i].def));
	return NULL;
}

int64_t
conf_transport_int(const struct conf *c, const char *transport, const char *suffix)
{
	int64_t v;
	const struct param *row = transport_row(suffix);
	if (param_int(span_str(conf_transport_str(c, transport, suffix)), &v) == RC_OK)
		return v;
	return row != NULL && param_int(span_str(row->def), &v) == RC_OK ? v : 0;
}

uint64_t
conf_transport_time(const struct conf *c, const char *transport, const char *suffix)
{
	uint64_t v;
	const struct param *row = transport_row(suffix);
	char unit = row != NULL ? param_unit(row) : 's';
	if (param_time(span_str(conf_transport_str(c, transport, suffix)), unit, &v) == RC_OK)
		return v;
	return row != NULL && param_time(span_str(row->def), unit, &v) == RC_OK ? v : 0;
}

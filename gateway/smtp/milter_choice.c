/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/milter_choice.h"

#include "base/mem.h"
#include "filters/bundled.h"
#include "map/map.h"
#include "policy/explain_out.h"
#include "policy/facts.h"
#include "smtp/milter_route.h"

enum { VALUE_MAX = 8192, GIVEN_MAX = 1000 };

/* What a table gave once. */
struct given {
	char *text;
	size_t n;
	struct milter_set *set;      /* NULL: it is no list of milters */
};

struct milter_choice {
	struct conf *conf;           /* borrowed: edge_conf holds it */
	const struct service *service;
	struct milter_set *set;
	struct map_list *maps;
	struct milter_route *route;
	struct given *given;
	size_t ngiven, cap;
};

static bool
is_overridden(const struct params *p)
{
	struct span rest = span_str(p->p_receive_override_options), word;
	while (span_word(&rest, ", \t\r\n", &word))
		if (span_eq_str(word, "no_milters"))
			return true;
	return false;
}

struct check {
	struct conf *conf;
	const struct service *service;
	enum rc rc;
};

static bool
check_entry(void *arg, const char *table, struct span key, struct span value)
{
	struct check *k = arg;
	struct milter_set *set = NULL;
	struct err e = { .why = "" };
	(void)key;
	if (milter_set_parse(k->conf, k->service, value, &set, &e) != RC_OK) {
		conf_problem(k->conf, CONF_ERROR, k->service, "smtpd_milter_maps", "%s: %s", table, e.why);
		k->rc = RC_PERM;
	}
	milter_set_free(&set);
	return true;
}

enum rc
milter_choice_open(struct conf *c, const struct service *s, struct milter_choice **out, struct err *e)
{
	*out = NULL;
	if (is_overridden(s->params))
		return RC_OK;
	struct milter_choice *m = mem_zalloc(sizeof *m);
	m->conf = c;
	m->service = s;
	enum rc rc = milter_set_open(c, s, "smtpd_milters", &m->set, e);
	enum rc maps = maps_open_param(c, s, "smtpd_milter_maps", &m->maps, e);
	if (maps == RC_OK && conf_is_loader(c)) {
		struct check k = { c, s, RC_OK };
		map_list_each(m->maps, check_entry, &k);
		maps = k.rc == RC_OK ? RC_OK : err_set(e, RC_PERM, "smtpd_milter_maps: what is no list of milters");
	}
	if (rc == RC_OK)
		rc = maps;
	if (rc == RC_OK && milter_set_is_empty(m->set) && map_list_empty(m->maps))
		milter_choice_free(&m);
	else if (rc == RC_OK)
		rc = milter_route_open(c, s, &m->route, e);
	*out = m;
	return rc;
}

void
milter_choice_free(struct milter_choice **mp)
{
	struct milter_choice *m = *mp;
	*mp = NULL;
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->ngiven; i++) {
		milter_set_free(&m->given[i].set);
		mem_free(&m->given[i].text);
	}
	mem_free(&m->given);
	map_list_free(&m->maps);
	milter_route_free(&m->route);
	milter_set_free(&m->set);
	mem_free(&m);
}

const struct milter_route *
milter_choice_route(const struct milter_choice *m)
{
	return m->route;
}

/* The set a table's value stands for; parsed when it is seen first. */
static enum rc
given_set(struct milter_choice *m, struct span text, struct milter_set **out, struct err *e)
{
	struct given *g = NULL;
	for (size_t i = 0; i < m->ngiven && g == NULL; i++)
		if (span_eq(span_of(m->given[i].text, m->given[i].n), text))
			g = &m->given[i];
	if (g == NULL) {
		if (m->ngiven == GIVEN_MAX)
			return err_set(e, RC_PERM, "more than %d different lists of milters", GIVEN_MAX);
		if (m->ngiven == m->cap) {
			m->cap = m->cap > 0 ? 2 * m->cap : 4;
			m->given = mem_reallocarray(m->given, m->cap, sizeof *m->given);
		}
		g = &m->given[m->ngiven++];
		*g = (struct given){ .text = mem_dup(text.p, text.n), .n = text.n };
		if (milter_set_parse(m->conf, m->service, text, &g->set, e) != RC_OK)
			milter_set_free(&g->set);
	}
	if (g->set == NULL)
		return err_set(e, RC_PERM, "\"%.*s\" is no list of milters", (int)(text.n < 80 ? text.n : 80), (const char *)text.p);
	*out = milter_set_is_empty(g->set) ? NULL : g->set;
	return RC_OK;
}

enum rc
milter_choice_find(struct milter_choice *m, struct span client_addr, struct milter_set **out, struct err *e)
{
	*out = milter_set_is_empty(m->set) ? NULL : m->set;
	if (map_list_empty(m->maps))
		return RC_OK;
	struct buf scratch;
	struct span value;
	buf_init(&scratch, VALUE_MAX);
	enum rc rc = map_find(m->maps, client_addr, 0, &scratch, &value, e);
	if (rc == RC_OK)
		rc = given_set(m, span_trim(value), out, e);
	else if (rc == RC_NONE)
		rc = RC_OK;
	buf_fini(&scratch);
	return rc;
}

/* ---- explain ---- */

static void
tell_list(const struct conf *c, const struct service *s, const char *parameter, struct span text, struct explain_out *out)
{
	struct span item;
	bool was_group;
	const char *file = NULL;
	int line = 0;
	if (!conf_position(c, s, parameter, &file, &line))
		file = NULL;
	explain_list(out, parameter, file, line);
	while (conf_item(&text, &item, &was_group) == RC_OK) {
		char name[200];
		snprintf(name, sizeof name, "%.*s", (int)(item.n < 199 ? item.n : 199), (const char *)item.p);
		explain_rule(out, parameter, file, line, name, 1, "is asked", 0);
	}
}

int
milter_choice_explain(struct conf *c, const struct service *s, const struct facts *f, struct explain_out *out)
{
	struct milter_choice *m = NULL;
	struct milter_set *set = NULL;
	struct buf scratch;
	struct span value;
	struct err e = { .why = "" };
	enum rc rc = milter_choice_open(c, s, &m, &e);
	if (rc != RC_OK)
		fprintf(stderr, "explain: %s\n", e.why);
	if (rc != RC_OK || m == NULL) {
		milter_choice_free(&m);
		return rc == RC_OK ? 0 : 2;
	}
	buf_init(&scratch, VALUE_MAX);
	rc = milter_choice_find(m, f->client_addr, &set, &e);
	explain_stage(out, "milters");
	if (rc != RC_OK)
		explain_note(out, "warning", span_str(e.why));
	else if (!map_list_empty(m->maps) && map_find(m->maps, f->client_addr, 0, &scratch, &value, NULL) == RC_OK)
		tell_list(c, s, "smtpd_milter_maps", span_trim(value), out);
	else
		tell_list(c, s, "smtpd_milters", span_str(s->params->p_smtpd_milters), out);
	for (size_t i = 0; i < BUNDLED_COUNT && set != NULL; i++)
		if (bundled_is_on(c, (enum bundled)i))
			explain_rule(out, bundled_switch((enum bundled)i), NULL, 0, bundled_name((enum bundled)i), 1, "is asked", 0);
	buf_fini(&scratch);
	milter_choice_free(&m);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbl/sites.h"

#include "base/mem.h"
#include "conf/param.h"
#include "map/map.h"
#include "map/remote.h"
#include "rbl/health.h"
#include "rbl/site.h"

#include <limits.h>

enum { SITES_MAX = 1000, ARENA_MAX = 4 << 20, SHOWN_MAX = 255 };

static const char sites_parameter[] = "postscreen_dnsbl_sites", map_parameter[] = "postscreen_dnsbl_reply_map";

enum rc
rbl_site_parse(struct span item, struct rbl_site *out, struct err *e)
{
	size_t star = span_chr(item, '*');
	int64_t weight = 1;
	*out = (struct rbl_site){ 0 };
	if (star != SIZE_MAX) {
		struct span text = span_from(item, star + 1);
		if (param_int(text, &weight) != RC_OK || weight < INT_MIN || weight > INT_MAX)
			return err_set(e, RC_PERM, "bad weight \"%.*s\": need a whole number", (int)(text.n < 80 ? text.n : 80), (const char *)text.p);
	}
	out->weight = (int)weight;
	return rbl_list_parse(span_head(item, star), &out->list, e);
}

static unsigned
domain_row(struct rbl_sites *s, struct span name)
{
	for (unsigned i = 0; i < s->ndomains; i++)
		if (span_caseeq(s->domains[i].name, name))
			return i;
	s->domains[s->ndomains] = (struct rbl_site_domain){ .name = name };
	return s->ndomains++;
}

/* The name for replies: what the table says about the domain, or the domain. A reply is one line. */
static enum rc
find_shown(struct rbl_sites *s, struct rbl_site_domain *d, const struct map_list *map, struct buf *scratch, struct err *e)
{
	struct span value = d->name;
	map_forget();
	enum rc rc = map_list_empty(map) ? RC_NONE : map_find(map, d->name, 0, scratch, &value, e);
	if (rc == RC_TEMP && map_asked())
		return err_set(e, RC_PERM, "a table that has to be asked elsewhere cannot be used here");
	if (rc == RC_TEMP || rc == RC_PERM)
		return rc;
	struct buf b;
	buf_init(&b, SHOWN_MAX + 1);
	buf_put_safe(&b, rc == RC_OK ? value : d->name, SHOWN_MAX, true);
	d->shown = arena_cstr(&s->arena, buf_span(&b));
	buf_fini(&b);
	return d->shown != NULL ? RC_OK : err_set(e, RC_TEMP, "out of memory");
}

static enum rc
read_sites(struct rbl_sites *s, struct conf *c, const struct service *svc, struct span value, struct err *e)
{
	struct span rest = value, word;
	enum rc rc = RC_OK;
	unsigned n = 0;
	while (span_word(&rest, ", \t\r\n", &word))
		n++;
	if (n > SITES_MAX) {
		conf_problem(c, CONF_ERROR, svc, sites_parameter, "%s: more than %d items", sites_parameter, SITES_MAX);
		return err_set(e, RC_PERM, "%s: too many items", sites_parameter);
	}
	s->sites = arena_zalloc(&s->arena, (n + 1) * sizeof *s->sites);
	s->domains = arena_zalloc(&s->arena, (n + 1) * sizeof *s->domains);
	if (s->sites == NULL || s->domains == NULL)
		return err_set(e, RC_TEMP, "out of memory");
	for (rest = value; span_word(&rest, ", \t\r\n", &word);) {
		struct rbl_site *site = &s->sites[s->nsites];
		const char *item = arena_cstr(&s->arena, word);
		struct err why = { .why = "out of memory" };
		if (item == NULL || rbl_site_parse(span_str(item), site, &why) != RC_OK) {
			conf_problem(c, CONF_ERROR, svc, sites_parameter, "%s: \"%.100s\": %s", sites_parameter, item != NULL ? item : "?", why.why);
			rc = err_set(e, RC_PERM, "%s: %s", sites_parameter, why.why);
			continue;
		}
		site->item = item;
		site->domain = domain_row(s, site->list.domain);
		s->nsites++;
	}
	return rc;
}

static enum rc
read_names(struct rbl_sites *s, struct conf *c, const struct service *svc, struct err *e)
{
	struct map_list *map = NULL;
	struct buf scratch;
	buf_init(&scratch, 4096);
	enum rc rc = maps_open_param(c, svc, map_parameter, &map, e);
	for (unsigned i = 0; rc == RC_OK && i < s->ndomains; i++) {
		rc = find_shown(s, &s->domains[i], map, &scratch, e);
		if (rc != RC_OK)
			conf_problem(c, CONF_ERROR, svc, map_parameter, "%s: %.*s: %s", map_parameter, (int)s->domains[i].name.n,
			    (const char *)s->domains[i].name.p, e->why);
	}
	map_list_free(&map);
	buf_fini(&scratch);
	return rc == RC_TEMP ? RC_PERM : rc;
}

enum rc
rbl_sites_open(struct conf *c, const struct service *svc, struct rbl_sites **out, struct err *e)
{
	const struct params *p = svc != NULL ? svc->params : conf_params(c);
	struct err ignored;
	*out = NULL;
	if (e == NULL)
		e = &ignored;
	struct rbl_sites *s = mem_zalloc(sizeof *s);
	arena_init(&s->arena, ARENA_MAX);
	s->timeout = p->p_postscreen_dnsbl_timeout;
	s->max_ttl = p->p_postscreen_dnsbl_max_ttl;
	s->min_ttl = p->p_postscreen_dnsbl_min_ttl;
	enum rc rc = read_sites(s, c, svc, span_str(p->p_postscreen_dnsbl_sites), e);
	if (rc == RC_OK && s->nsites > 0)
		rc = read_names(s, c, svc, e);
	if (rc != RC_OK || s->nsites == 0)
		rbl_sites_free(&s);
	*out = s;
	return rc;
}

void
rbl_sites_free(struct rbl_sites **sp)
{
	if (*sp == NULL)
		return;
	arena_fini(&(*sp)->arena);
	mem_free(sp);
}

void
rbl_sites_each(const struct rbl_sites *s, rbl_site_fn *fn, void *arg)
{
	for (unsigned i = 0; s != NULL && i < s->nsites; i++)
		fn(arg, s->sites[i].item, &s->sites[i].list, s->sites[i].weight, s->domains[s->sites[i].domain].shown);
}

void
rbl_sites_use(const struct rbl_sites *s)
{
	for (unsigned i = 0; s != NULL && i < s->ndomains; i++)
		rbl_health_use(RBL_ADDRESSES, s->domains[i].name);
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/tlspolicy.h"

#include "base/mem.h"
#include "map/map.h"
#include "msg/addr.h"

enum { VALUE_MAX = 64 * 1024 };

struct tls_policies {
	struct conf *conf;           /* borrowed */
	bool lmtp, wrapped, note_offer, reuse;
	enum tls_demand level;        /* of main.cf and -o */
	struct map_list *maps, *per_site;
	struct tls_client *client;
	const char *title;           /* of the table */
	const char *sni, *anchors, *verify_match, *secure_match, *fingerprints;
};

/* ---- one row ---- */

enum field { F_CIPHERS, F_PROTOCOLS, F_SERVERNAME, F_MATCH, F_EXCLUDE, F_TAFILE, F_REUSE, F_COUNT };
static const char *const fields[F_COUNT] = { "ciphers", "protocols", "servername", "match", "exclude", "tafile", "connection_reuse" };

#define SHOWN(s) (int)((s).n < 60 ? (s).n : 60), (const char *)(s).p

static enum rc
check_field(enum field f, enum tls_demand level, struct span value, bool was_set, struct err *e)
{
	bool fits = f == F_MATCH ? level == TLS_DEMAND_FINGERPRINT || level >= TLS_DEMAND_VERIFY : f == F_TAFILE ? level >= TLS_DEMAND_VERIFY : true;
	if (!fits)
		return err_set(e, RC_PERM, "attribute \"%s\" invalid at security level \"%s\"", fields[f], tls_demand_name(level));
	if (value.n == 0 && f != F_PROTOCOLS && f != F_EXCLUDE)
		return err_set(e, RC_PERM, "attribute \"%s\" has empty value", fields[f]);
	if (was_set && f != F_MATCH)
		return err_set(e, RC_PERM, "attribute \"%s\" is specified multiple times", fields[f]);
	if (f == F_SERVERNAME && !addr_is_hostname(value, false))
		return err_set(e, RC_PERM, "attribute \"%s\" is no host name: \"%.*s\"", fields[f], SHOWN(value));
	if (f == F_REUSE && !span_caseeq_str(value, "yes") && !span_caseeq_str(value, "no"))
		return err_set(e, RC_PERM, "attribute \"%s\" has bad value: \"%.*s\"", fields[f], SHOWN(value));
	return RC_OK;
}

/* Attributes one after the other into text, each ended with a NUL; those of one name are joined. */
static enum rc
parse_fields(struct span rest, enum tls_demand level, struct buf text[F_COUNT], bool set[F_COUNT], struct err *e)
{
	for (struct span tok; span_word(&rest, ", \t\r\n", &tok);) {
		size_t eq = span_chr(tok, '='), f = 0;
		if (level < TLS_DEMAND_MAY)
			return err_set(e, RC_PERM, "attribute \"%.*s\" with TLS disabled", SHOWN(tok));
		if (eq == SIZE_MAX || eq == 0)
			return err_set(e, RC_PERM, "malformed attribute/value pair \"%.*s\"", SHOWN(tok));
		struct span name = span_head(tok, eq), value = span_from(tok, eq + 1);
		while (f < F_COUNT && !span_caseeq_str(name, fields[f]))
			f++;
		if (f == F_COUNT)
			return err_set(e, RC_PERM, "invalid attribute name: \"%.*s\"", SHOWN(name));
		enum rc rc = check_field((enum field)f, level, value, set[f], e);
		if (rc != RC_OK)
			return rc;
		if (buf_len(&text[f]) > 0)
			buf_putc(&text[f], level == TLS_DEMAND_FINGERPRINT ? '|' : ':');
		buf_put(&text[f], value);
		set[f] = true;
	}
	return RC_OK;
}

static const char *
take(struct tls_policy *p, size_t *at, struct buf *b, bool is_set)
{
	if (!is_set)
		return NULL;
	char *to = p->text + *at;
	if (buf_len(b) > 0)
		memcpy(to, buf_span(b).p, buf_len(b));
	to[buf_len(b)] = '\0';
	*at += buf_len(b) + 1;
	return to;
}

enum rc
tls_policy_parse(struct span value, struct tls_policy *out, struct err *e)
{
	struct buf text[F_COUNT];
	bool set[F_COUNT] = { false };
	struct span rest = value, word;
	*out = (struct tls_policy){ .may_reuse = false };
	if (value.n > 0 && memchr(value.p, '\0', value.n) != NULL)
		return err_set(e, RC_PERM, "a policy has a NUL octet");
	if (!span_word(&rest, ", \t\r\n", &word))
		return err_set(e, RC_PERM, "invalid empty policy");
	enum tls_demand level = tls_demand_parse(word);
	if (level == TLS_DEMAND_UNKNOWN)
		return err_set(e, RC_PERM, "invalid security level \"%.*s\"", SHOWN(word));
	if (tls_demand_is_dane(level))
		return err_set(e, RC_PERM, "security level \"%s\" is not supported yet", tls_demand_name(level));
	for (size_t i = 0; i < F_COUNT; i++)
		buf_init(&text[i], VALUE_MAX);
	enum rc rc = parse_fields(rest, level, text, set, e);
	if (rc == RC_OK) {
		size_t at = 0;
		out->text = mem_alloc(2 * value.n + F_COUNT + 1);
		out->wish.level = level;
		out->wish.grade = take(out, &at, &text[F_CIPHERS], set[F_CIPHERS]);
		out->wish.protocols = take(out, &at, &text[F_PROTOCOLS], set[F_PROTOCOLS]);
		out->wish.exclude = take(out, &at, &text[F_EXCLUDE], set[F_EXCLUDE]);
		out->wish.sni = take(out, &at, &text[F_SERVERNAME], set[F_SERVERNAME]);
		out->wish.anchors = take(out, &at, &text[F_TAFILE], set[F_TAFILE]);
		const char *match = take(out, &at, &text[F_MATCH], set[F_MATCH]);
		if (level == TLS_DEMAND_FINGERPRINT)
			out->wish.fingerprints = match;
		else
			out->wish.match = match;
		out->may_reuse = set[F_REUSE] && span_caseeq_str(buf_span(&text[F_REUSE]), "yes");
	}
	for (size_t i = 0; i < F_COUNT; i++)
		buf_fini(&text[i]);
	return rc;
}

void
tls_policy_fini(struct tls_policy *p)
{
	mem_free(&p->text);
	p->wish = (struct tls_wish){ .level = TLS_DEMAND_UNKNOWN };
}

/* What a row leaves open is as the service has it; fingerprints there must be some. */
static enum rc
complete(const struct tls_policies *t, struct tls_policy *p, struct err *e)
{
	struct tls_wish *w = &p->wish;
	if (w->level >= TLS_DEMAND_VERIFY && w->match == NULL)
		w->match = w->level == TLS_DEMAND_VERIFY ? t->verify_match : t->secure_match;
	if (w->level >= TLS_DEMAND_VERIFY && w->anchors == NULL)
		w->anchors = t->anchors;
	if (w->level == TLS_DEMAND_FINGERPRINT && w->fingerprints == NULL)
		w->fingerprints = t->fingerprints;
	if (w->sni == NULL)
		w->sni = t->sni;
	if (w->level == TLS_DEMAND_FINGERPRINT && w->fingerprints[0] == '\0')
		return err_set(e, RC_PERM, "configured at fingerprint security level, but with no fingerprints to match");
	return RC_OK;
}

/* ---- finding ---- */

static enum rc
from_value(const struct tls_policies *t, struct span nexthop, struct span value, struct tls_policy *out, struct err *e)
{
	bool reuse = t->reuse;
	enum rc rc = tls_policy_parse(value, out, e);
	if (rc == RC_OK && span_find(value, SPAN("connection_reuse=")) == SIZE_MAX)
		out->may_reuse = reuse;
	if (rc == RC_OK)
		rc = complete(t, out, e);
	if (rc == RC_OK && out->wish.level > TLS_DEMAND_NONE)
		rc = tls_client_check(t->client, &out->wish, e);
	if (rc != RC_OK)
		(void)!err_prefix(e, "%s, next-hop destination \"%.*s\"", t->title, SHOWN(nexthop));
	return rc == RC_OK ? RC_OK : RC_PERM;
}

static enum rc
find_row(const struct tls_policies *t, struct span nexthop, struct tls_policy *out, struct err *e)
{
	struct buf scratch;
	struct span value, key = nexthop;
	enum rc rc;
	buf_init(&scratch, VALUE_MAX);
	while ((rc = map_find(t->maps, key, 0, &scratch, &value, e)) == RC_NONE) {
		size_t dot = addr_is_hostname(nexthop, false) && key.n > 0 ? span_chr(span_from(key, 1), '.') : SIZE_MAX;
		if (dot == SIZE_MAX)
			break;
		key = span_from(key, dot + 1);
	}
	if (rc == RC_OK)
		rc = from_value(t, nexthop, value, out, e);
	else if (rc == RC_PERM)
		rc = RC_TEMP;
	buf_fini(&scratch);
	return rc;
}

/* TLS_DEMAND_UNKNOWN in *level: nothing found yet. */
static enum rc
look_at_site(const struct tls_policies *t, struct span site, enum tls_demand *level, struct err *e)
{
	struct buf scratch;
	struct span value;
	buf_init(&scratch, VALUE_MAX);
	enum rc rc = map_find(t->per_site, site, 0, &scratch, &value, e);
	if (rc == RC_OK && span_caseeq_str(value, "NONE")) {
		if (*level <= TLS_DEMAND_MAY)
			*level = TLS_DEMAND_NONE;
	} else if (rc == RC_OK && span_caseeq_str(value, "MAY")) {
		if (*level < TLS_DEMAND_NONE)
			*level = TLS_DEMAND_MAY;
	} else if (rc == RC_OK && span_caseeq_str(value, "MUST_NOPEERMATCH")) {
		if (*level < TLS_DEMAND_ENCRYPT)
			*level = TLS_DEMAND_ENCRYPT;
	} else if (rc == RC_OK && span_caseeq_str(value, "MUST")) {
		if (*level < TLS_DEMAND_VERIFY)
			*level = TLS_DEMAND_VERIFY;
	} else if (rc == RC_OK) {
		rc = err_set(e, RC_PERM, "%s: unknown TLS policy '%.*s' for %.*s", t->title, SHOWN(value), SHOWN(site));
	}
	buf_fini(&scratch);
	return rc == RC_NONE ? RC_OK : rc;
}

static enum rc
find_site(const struct tls_policies *t, struct span nexthop, struct span host, enum tls_demand *level, struct err *e)
{
	enum tls_demand found = TLS_DEMAND_UNKNOWN;
	enum rc rc = look_at_site(t, nexthop, &found, e);
	if (rc == RC_OK && !span_caseeq(nexthop, host))
		rc = look_at_site(t, host, &found, e);
	if (rc != RC_OK)
		return rc;
	/* a MAY for many gives way to what main.cf demands */
	if (found != TLS_DEMAND_UNKNOWN && !(found == TLS_DEMAND_MAY && *level > TLS_DEMAND_MAY))
		*level = found;
	return RC_OK;
}

enum rc
tls_policy_find(const struct tls_policies *t, struct span nexthop, struct span host, struct tls_policy *out, struct err *e)
{
	enum rc rc = RC_NONE;
	*out = (struct tls_policy){ .may_reuse = t->reuse };
	out->wish.level = t->level;
	if (!map_list_empty(t->maps)) {
		rc = find_row(t, nexthop, out, e);
		if (rc != RC_NONE)
			return rc;
		*out = (struct tls_policy){ .may_reuse = t->reuse };
		out->wish.level = t->level;
	} else if (!map_list_empty(t->per_site)) {
		rc = find_site(t, nexthop, host, &out->wish.level, e);
		if (rc == RC_TEMP || rc == RC_PERM)
			return rc;
	}
	if (t->wrapped && out->wish.level < TLS_DEMAND_ENCRYPT)
		out->wish.level = TLS_DEMAND_ENCRYPT;
	return complete(t, out, e);
}

/* ---- opening ---- */

struct row_check {
	const struct tls_policies *t;
	const struct service *service;
	const char *parameter;
};

static bool
check_row(void *arg, const char *table, struct span key, struct span value)
{
	const struct row_check *k = arg;
	struct tls_policy p;
	struct err e = { .why = "" };
	if (from_value(k->t, key, value, &p, &e) != RC_OK)
		conf_problem(k->t->conf, CONF_WARNING, k->service, k->parameter, "%s: %s: mail that needs this row waits", table, e.why);
	tls_policy_fini(&p);
	return true;
}

static void
complain(struct tls_policies *t, enum conf_severity how, const struct service *s, const char *suffix, const char *why)
{
	char name[80];
	snprintf(name, sizeof name, "%s_%s", t->lmtp ? "lmtp" : "smtp", suffix);
	conf_problem(t->conf, how, s, name, "%s: %s", name, why);
}

/* Who asks for TLS by main.cf or -o: RC_PERM when it says nothing that can be done. */
static enum rc
global_level(struct tls_policies *t, const struct service *s, const char *level, bool use, bool enforce, bool peername)
{
	if (level[0] == '\0') {
		t->level = enforce ? (peername ? TLS_DEMAND_VERIFY : TLS_DEMAND_ENCRYPT) : use ? TLS_DEMAND_MAY : TLS_DEMAND_NONE;
		return RC_OK;
	}
	t->level = tls_demand_parse(span_str(level));
	if (t->level != TLS_DEMAND_UNKNOWN && !tls_demand_is_dane(t->level))
		return RC_OK;
	char why[160];
	snprintf(why, sizeof why, t->level == TLS_DEMAND_UNKNOWN ? "\"%.60s\" is no TLS level: none, may, encrypt, fingerprint, verify, secure"
	                                                        : "level %.60s is not supported yet: take may, encrypt, verify or secure", level);
	complain(t, CONF_ERROR, s, "tls_security_level", why);
	t->level = TLS_DEMAND_SECURE;
	return RC_PERM;
}

static enum rc
open_tables(struct tls_policies *t, const struct service *s, struct err *e)
{
	char name[80];
	enum rc rc = RC_OK;
	snprintf(name, sizeof name, "%s_tls_per_site", t->lmtp ? "lmtp" : "smtp");
	if (maps_open_param(t->conf, s, t->title, &t->maps, e) != RC_OK)
		rc = RC_PERM;
	if (map_list_empty(t->maps) && maps_open_param(t->conf, s, name, &t->per_site, e) != RC_OK)
		rc = RC_PERM;
	if (tls_client_open(t->conf, s, t->lmtp, &t->client, e) == RC_PERM)
		rc = RC_PERM;
	if (rc == RC_OK && conf_is_loader(t->conf)) {
		struct row_check k = { t, s, t->title };
		map_list_each(t->maps, check_row, &k);
	}
	return rc;
}

#define EITHER(smtp, lmtp_name) (lmtp ? p->lmtp_name : p->smtp)

enum rc
tls_policies_open(struct conf *c, const struct service *s, bool lmtp, struct tls_policies **out, struct err *e)
{
	const struct params *p = s->params;
	*out = NULL;
	struct tls_policies *t = mem_zalloc(sizeof *t);
	t->conf = c;
	t->lmtp = lmtp;
	t->title = lmtp ? "lmtp_tls_policy_maps" : "smtp_tls_policy_maps";
	t->wrapped = EITHER(p_smtp_tls_wrappermode, p_lmtp_tls_wrappermode);
	t->note_offer = EITHER(p_smtp_tls_note_starttls_offer, p_lmtp_tls_note_starttls_offer);
	t->reuse = EITHER(p_smtp_tls_connection_reuse, p_lmtp_tls_connection_reuse);
	t->sni = EITHER(p_smtp_tls_servername, p_lmtp_tls_servername);
	t->anchors = EITHER(p_smtp_tls_trust_anchor_file, p_lmtp_tls_trust_anchor_file);
	t->verify_match = EITHER(p_smtp_tls_verify_cert_match, p_lmtp_tls_verify_cert_match);
	t->secure_match = EITHER(p_smtp_tls_secure_cert_match, p_lmtp_tls_secure_cert_match);
	t->fingerprints = EITHER(p_smtp_tls_fingerprint_cert_match, p_lmtp_tls_fingerprint_cert_match);
	enum rc rc = global_level(t, s, EITHER(p_smtp_tls_security_level, p_lmtp_tls_security_level), EITHER(p_smtp_use_tls, p_lmtp_use_tls), EITHER(p_smtp_enforce_tls, p_lmtp_enforce_tls), EITHER(p_smtp_tls_enforce_peername, p_lmtp_tls_enforce_peername));
	bool is_wanted = t->wrapped || t->note_offer || t->level > TLS_DEMAND_NONE || EITHER(p_smtp_tls_policy_maps, p_lmtp_tls_policy_maps)[0] != '\0' || EITHER(p_smtp_tls_per_site, p_lmtp_tls_per_site)[0] != '\0';
	if (!is_wanted) {
		mem_free(&t);
		return RC_OK;
	}
	*out = t;
	if (open_tables(t, s, e) != RC_OK)
		rc = RC_PERM;
	if (rc != RC_OK || !conf_is_loader(c))
		return rc;
	if (t->wrapped && t->level < TLS_DEMAND_ENCRYPT && map_list_empty(t->maps))
		complain(t, CONF_WARNING, s, "tls_wrappermode", "TLS from the first octet is never optional: the security level is taken as encrypt");
	if (t->level >= TLS_DEMAND_VERIFY && !tls_client_has_cas(t->client) && t->anchors[0] == '\0')
		complain(t, CONF_WARNING, s, "tls_security_level", "no CA to verify with: set the CAfile or CApath parameter; no mail is sent at this level");
	if (t->level == TLS_DEMAND_FINGERPRINT && t->fingerprints[0] == '\0')
		complain(t, CONF_WARNING, s, "tls_security_level", "fingerprint without tls_fingerprint_cert_match: no mail is sent at this level");
	return rc;
}

void
tls_policies_free(struct tls_policies **tp)
{
	struct tls_policies *t = *tp;
	*tp = NULL;
	if (t == NULL)
		return;
	map_list_free(&t->maps);
	map_list_free(&t->per_site);
	tls_client_free(&t->client);
	mem_free(&t);
}

struct tls_client *
tls_policies_client(const struct tls_policies *t)
{
	return t->client;
}

bool
tls_policies_wrapped(const struct tls_policies *t)
{
	return t != NULL && t->wrapped;
}

bool
tls_policies_note_offer(const struct tls_policies *t)
{
	return t->note_offer;
}

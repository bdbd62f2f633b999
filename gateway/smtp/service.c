/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/service.h"

#include "base/mem.h"
#include "filters/bundled.h"
#include "ipc/ipc.h"
#include "policy/list_use.h"
#include "smtp/footer.h"
#include "smtp/milter_choice.h"
#include "smtp/tx.h"

enum {
	REPLY_MAX_OCTETS = 8192,
	FILTER_MAX = 512,
	INLINE_MAX = IPC_FRAME_MAX - TX_ENVELOPE_MAX - 4096, /* content and envelope travel in one frame */
};

static const char *const keyword_names[] = {
#define EHLO_KEYWORD(name, bit, doc) name,
#include "smtp/keywords.def"
#undef EHLO_KEYWORD
};

/* Words smtpd_discard_ehlo_keywords may have although we never announce them. */
static const char *const other_keywords[] = { "verp", "silent-discard" };

unsigned
service_hidden_keywords(struct conf *c, const struct service *s, const char *parameter, struct span list)
{
	unsigned hidden = 0;
	struct span word;
	while (span_word(&list, ", \t\r\n", &word)) {
		bool known = false;
		for (unsigned i = 0; i < EHLO_COUNT; i++)
			if (span_caseeq_str(word, keyword_names[i])) {
				hidden |= 1u << i;
				known = true;
			}
		for (size_t i = 0; i < NELEMS(other_keywords); i++)
			known |= span_caseeq_str(word, other_keywords[i]);
		if (!known && c != NULL)
			conf_problem(c, CONF_WARNING, s, parameter, "%s: no such EHLO keyword \"%.*s\"", parameter, (int)(word.n < 80 ? word.n : 80),
			    (const char *)word.p);
	}
	return hidden;
}

static unsigned
keywords_of(struct conf *c, const struct service *s)
{
	unsigned on = (1u << EHLO_COUNT) - 1;
	if (s->params->p_disable_vrfy_command)
		on &= ~(1u << EHLO_VRFY);
	if (!s->params->p_smtputf8_enable)
		on &= ~(1u << EHLO_SMTPUTF8);
	return on & ~service_hidden_keywords(c, s, "smtpd_discard_ehlo_keywords", span_str(s->params->p_smtpd_discard_ehlo_keywords));
}

static bool
bare_lf_of(struct span v, enum bare_lf_mode *out)
{
	static const struct {
		const char *word;
		enum bare_lf_mode mode;
	} words[] = { { "no", BARE_LF_NO }, { "normalize", BARE_LF_NORMALIZE }, { "yes", BARE_LF_NORMALIZE }, { "note", BARE_LF_NOTE },
		{ "reject", BARE_LF_REJECT } };
	for (size_t i = 0; i < NELEMS(words); i++)
		if (span_caseeq_str(v, words[i].word)) {
			*out = words[i].mode;
			return true;
		}
	return false;
}

/* The one pattern of the default is built in: it needs no regular expressions. What else is in the list
 * goes through a match list. */
enum rc
service_forbidden(struct conf *c, const struct service *s, const char *parameter, struct matchlist **out, bool *nonletters_out, struct err *e)
{
	struct buf words;
	buf_init(&words, 64 * 1024);
	struct span rest = span_str(conf_value(c, s, parameter));
	static const char pattern[] = "regexp:{{/^[^A-Z]/ Bogus}}";
	for (;;) {
		size_t at = span_find(rest, span_str(pattern));
		buf_put(&words, span_head(rest, at));
		if (at == SIZE_MAX)
			break;
		*nonletters_out = true;
		buf_putc(&words, ' ');
		rest = span_from(rest, at + sizeof pattern - 1);
	}
	enum rc rc = matchlist_open(c, s, parameter, buf_cstr(&words), MATCH_STRING, out, e);
	buf_fini(&words);
	return rc;
}

void
service_ehlo(const struct edge_service *svc, unsigned keywords, struct span mechs, struct buf *b)
{
	const struct params *p = svc->p;
	size_t from = buf_len(b), last = from;
	buf_puts(b, "250-");
	buf_puts(b, p->p_myhostname);
	buf_puts(b, "\r\n");
	for (unsigned i = 0; i < EHLO_COUNT; i++) {
		if ((keywords & 1u << i) == 0)
			continue;
		last = buf_len(b);
		buf_puts(b, "250-");
		buf_puts(b, keyword_names[i]);
		if (i == EHLO_AUTH) {
			buf_putc(b, ' ');
			buf_put(b, mechs);
		}
		if (i == EHLO_AUTH && p->p_broken_sasl_auth_clients) {
			buf_puts(b, "\r\n");
			last = buf_len(b);
			buf_puts(b, "250-AUTH=");
			buf_put(b, mechs);
		}
		if (i == EHLO_XCLIENT)
			buf_puts(b, " NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT");
		if (i == EHLO_XFORWARD)
			buf_puts(b, " NAME ADDR PROTO HELO SOURCE PORT IDENT");
		if (i == EHLO_SIZE && p->p_message_size_limit > 0) {
			buf_putc(b, ' ');
			buf_put_dec(b, (uint64_t)p->p_message_size_limit);
		}
		buf_puts(b, "\r\n");
	}
	if (!b->over)
		b->p[b->at + last + 3] = ' ';
}

bool
service_offers_tls(const struct edge_service *svc)
{
	return svc->tls != NULL && !svc->discards_starttls;
}

static void
write_replies(struct edge_service *svc)
{
	const struct params *p = svc->p;
	buf_init(&svc->banner, REPLY_MAX_OCTETS);
	buf_puts(&svc->banner, "220 ");
	buf_put_safe(&svc->banner, span_str(p->p_smtpd_banner), 500, true);
	buf_puts(&svc->banner, "\r\n");
	buf_init(&svc->helo_reply, REPLY_MAX_OCTETS);
	buf_puts(&svc->helo_reply, "250 ");
	buf_puts(&svc->helo_reply, p->p_myhostname);
	buf_puts(&svc->helo_reply, "\r\n");
	buf_init(&svc->ehlo_reply, REPLY_MAX_OCTETS);
	service_ehlo(svc, svc->keywords & ~(1u << EHLO_XCLIENT | 1u << EHLO_XFORWARD | 1u << EHLO_AUTH), SPAN_EMPTY, &svc->ehlo_reply);
}

static void
service_free(struct edge_service **sp)
{
	struct edge_service *svc = *sp;
	*sp = NULL;
	if (svc == NULL)
		return;
	tls_server_free(&svc->tls);
	sasl_setup_free(&svc->sasl);
	milter_choice_free(&svc->milters);
	triage_conf_free(&svc->triage);
	check_settings_free(&svc->check);
	header_rules_free(&svc->headers);
	rewriter_free(&svc->rewriter);
	address_book_free(&svc->book);
	policy_free(&svc->policy);
	matchlist_free(&svc->forbidden);
	matchlist_free(&svc->noop);
	matchlist_free(&svc->limit_exempt);
	matchlist_free(&svc->bare_lf_exempt);
	map_list_free(&svc->footer_maps);
	proxied_conf_free(&svc->proxied);
	matchlist_free(&svc->flush_domains);
	matchlist_free(&svc->proxy_hosts);
	matchlist_free(&svc->xclient_hosts);
	matchlist_free(&svc->xforward_hosts);
	buf_fini(&svc->banner);
	buf_fini(&svc->helo_reply);
	buf_fini(&svc->ehlo_reply);
	mem_free(&svc);
}

/* The worse of two outcomes; e keeps the reason of the first bad one. */
static enum rc
worse(enum rc a, enum rc b)
{
	return a != RC_OK ? a : b;
}

static bool
wants_forward(const struct conf *c)
{
	for (size_t i = 0; i < conf_service_count(c); i++) {
		const struct params *p = conf_service(c, i)->params;
		if (p->p_smtp_send_xforward_command || p->p_lmtp_send_xforward_command)
			return true;
	}
	return false;
}

static bool
is_postscreen(const struct service *s)
{
	return strcmp(s->command, "postscreen") == 0;
}

/* What stands in the listener's own line: who is tested, and whether a balancer is in front. */
static enum rc
open_triage(struct conf *c, const struct service *listener, struct edge_service *svc, struct err *e)
{
	const char *name = is_postscreen(listener) ? "postscreen_upstream_proxy_protocol" : "smtpd_upstream_proxy_protocol";
	const char *protocol = conf_value(c, listener, name);
	enum rc rc = RC_OK;
	svc->has_upstream_proxy = strcmp(protocol, "haproxy") == 0;
	svc->proxy_timeout = is_postscreen(listener) ? listener->params->p_postscreen_upstream_proxy_timeout
	                                             : listener->params->p_smtpd_upstream_proxy_timeout;
	if (!svc->has_upstream_proxy && protocol[0] != '\0') {
		conf_problem(c, CONF_ERROR, listener, name, "%s = %s: only \"haproxy\" or nothing", name, protocol);
		rc = err_set(e, RC_PERM, "%s: bad value", name);
	}
	if (!triage_is_on(listener))
		return rc;
	if (svc->p->p_smtpd_tls_wrappermode) {
		conf_problem(c, CONF_ERROR, listener, NULL, "service \"%s\" (inet): no triage with smtpd_tls_wrappermode: who begins with TLS talks before the greeting",
		    listener->name);
		rc = err_set(e, RC_PERM, "triage with smtpd_tls_wrappermode");
	}
	return worse(rc, triage_conf_open(c, listener, &svc->triage, e));
}

/* listener: the line with the socket; s: the one whose settings sessions have. */
static enum rc
service_open(struct conf *c, const struct service *listener, const struct service *s, bool with_policy, struct edge_service **out, struct err *e)
{
	struct edge_service *svc = mem_zalloc(sizeof *svc);
	*out = svc;
	svc->listener = listener;
	svc->row = s;
	svc->p = s->params;
	if (strcmp(s->params->p_syslog_name, conf_params(c)->p_syslog_name) != 0)
		svc->tag = s->params->p_syslog_name;
	svc->keywords = keywords_of(c, s);
	svc->wants_forward = wants_forward(c);
	svc->content = (struct content_limits){
		.size = (uint64_t)s->params->p_message_size_limit,
		.header_size = (uint64_t)s->params->p_header_size_limit,
		.header_total = (uint64_t)(s->params->p_smtpd_header_bytes_limit > s->params->p_header_size_limit ? s->params->p_smtpd_header_bytes_limit
		    : s->params->p_header_size_limit),
		.header_count = (uint32_t)s->params->p_smtpd_header_count_limit,
		.hops = (uint32_t)s->params->p_hopcount_limit,
		.inline_max = (size_t)(s->params->p_spool_inline_limit < INLINE_MAX ? s->params->p_spool_inline_limit : INLINE_MAX),
	};
	svc->patience[0] = (struct patience){ s->params->p_smtpd_timeout, (uint64_t)s->params->p_smtpd_hard_error_limit,
		(uint64_t)s->params->p_smtpd_junk_command_limit };
	svc->patience[1] = (struct patience){ (uint64_t)conf_stressed(c, s, "smtpd_timeout"), (uint64_t)conf_stressed(c, s, "smtpd_hard_error_limit"),
		(uint64_t)conf_stressed(c, s, "smtpd_junk_command_limit") };
	enum rc rc = RC_OK;
	if (!bare_lf_of(span_str(s->params->p_smtpd_forbid_bare_newline), &svc->bare_lf)) /* conf has said so already */
		rc = err_set(e, RC_PERM, "smtpd_forbid_bare_newline: bad value");
	rc = worse(rc, tls_server_level(s->params, &svc->tls_level, e));
	if (rc == RC_OK)
		rc = tls_server_open(c, s, &svc->tls, e);
	svc->discards_starttls = (svc->keywords & 1u << EHLO_STARTTLS) == 0;
	if (!service_offers_tls(svc))
		svc->keywords &= ~(1u << EHLO_STARTTLS);
	rc = worse(rc, service_forbidden(c, s, "smtpd_forbidden_commands", &svc->forbidden, &svc->forbid_nonletters, e));
	rc = worse(rc, matchlist_open_param(c, s, "smtpd_noop_commands", MATCH_STRING, &svc->noop, e));
	rc = worse(rc, matchlist_open_param(c, s, "smtpd_client_event_limit_exceptions", MATCH_HOST, &svc->limit_exempt, e));
	rc = worse(rc, matchlist_open_param(c, s, "smtpd_forbid_bare_newline_exclusions", MATCH_HOST, &svc->bare_lf_exempt, e));
	rc = worse(rc, open_triage(c, listener, svc, e));
	rc = worse(rc, matchlist_open_param(c, s, "smtpd_upstream_proxy_hosts", MATCH_ADDRESS, &svc->proxy_hosts, e));
	rc = worse(rc, matchlist_open_param(c, s, "fast_flush_domains", MATCH_DOMAIN, &svc->flush_domains, e));
	rc = worse(rc, matchlist_open_param(c, s, "smtpd_authorized_xclient_hosts", MATCH_HOST, &svc->xclient_hosts, e));
	rc = worse(rc, matchlist_open_param(c, s, "smtpd_authorized_xforward_hosts", MATCH_HOST, &svc->xforward_hosts, e));
	rc = worse(rc, sasl_setup_open(c, s, with_policy, &svc->sasl, e));
	rc = worse(rc, milter_choice_open(c, s, &svc->milters, e));
	svc->holds_in_queue = strcmp(s->params->p_milter_quarantine_queue, "hold") == 0;
	rc = worse(rc, maps_open_param(c, s, "smtpd_reject_footer_maps", &svc->footer_maps, e));
	rc = worse(rc, proxied_conf_open(c, s, &svc->proxied, e));
	if (strlen(s->params->p_content_filter) > FILTER_MAX)
		rc = err_set(e, RC_PERM, "content_filter: too long");
	if (with_policy)
		rc = worse(rc, policy_compile(c, s, &svc->policy, e));
	else
		rc = worse(rc, address_book_open(c, s, &svc->book, e));
	const struct address_book *book = svc->policy != NULL ? policy_addresses(svc->policy) : svc->book;
	if (book != NULL)
		rc = worse(rc, rewriter_open(c, s, book, &svc->rewriter, e));
	rc = worse(rc, header_rules_open(c, s, book, svc->rewriter, &svc->headers, e));
	rc = worse(rc, check_settings_open(c, s, &svc->check, e));
	write_replies(svc);
	return rc;
}

static bool
is_listener(const struct service *s)
{
	return s->kind == SERVICE_LISTENER && strcmp(s->type, "inet") == 0 && !s->disabled;
}

/* The line whose settings the sessions of a listener have: postscreen hands its clients to another. */
static const struct service *
served_by(struct conf *c, const struct service *listener, struct err *e)
{
	if (!is_postscreen(listener))
		return listener;
	const char *name = listener->params->p_smtpd_service_name;
	const struct service *s = conf_service_find(c, name, "pass");
	if (s != NULL && strcmp(s->command, "smtpd") == 0)
		return s;
	conf_problem(c, CONF_ERROR, listener, NULL,
	    "service \"%s\" (inet): postscreen hands its clients to a service \"%s\" of type pass with the command smtpd: there is none", listener->name,
	    name);
	(void)err_set(e, RC_PERM, "postscreen without a service \"%s\" of type pass", name);
	return NULL;
}

static enum rc
listener_open(struct conf *c, const struct service *listener, bool with_policy, struct edge_service **out, struct err *e)
{
	const struct service *s = served_by(c, listener, e);
	return s != NULL ? service_open(c, listener, s, with_policy, out, e) : RC_PERM;
}

/* Milters for messages that come from no client. */
static enum rc
open_inspection(struct conf *c, struct milter_set **internal, struct milter_set **again, struct err *e)
{
	enum rc rc = milter_set_open(c, NULL, "non_smtpd_milters", internal, e);
	if (bundled_is_on(c, BUNDLED_VIRUS))
		rc = worse(rc, milter_set_parse(c, NULL, SPAN(BUNDLED_PREFIX "virus"), again, e));
	return rc;
}

enum rc
edge_conf_open(struct conf *c, struct edge_conf **out, struct err *e)
{
	size_t n = conf_service_count(c);
	struct edge_conf *ec = mem_zalloc(sizeof *ec + n * sizeof ec->services[0]);
	ec->refs = 1;
	ec->conf = conf_ref(c);
	ec->n = n;
	enum rc rc = RC_OK;
	for (size_t i = 0; i < n; i++)
		if (is_listener(conf_service(c, i)))
			rc = worse(rc, listener_open(c, conf_service(c, i), true, &ec->services[i], e));
	rc = worse(rc, open_inspection(c, &ec->milters_internal, &ec->milters_again, e));
	if (rc != RC_OK)
		edge_conf_unref(&ec);
	*out = ec;
	return rc;
}

struct edge_conf *
edge_conf_ref(struct edge_conf *ec)
{
	BUG_ON(ec->refs <= 0);
	ec->refs++;
	return ec;
}

void
edge_conf_unref(struct edge_conf **ecp)
{
	struct edge_conf *ec = *ecp;
	*ecp = NULL;
	if (ec == NULL)
		return;
	BUG_ON(ec->refs <= 0);
	if (--ec->refs > 0)
		return;
	for (size_t i = 0; i < ec->n; i++)
		service_free(&ec->services[i]);
	milter_set_free(&ec->milters_internal);
	milter_set_free(&ec->milters_again);
	conf_unref(&ec->conf);
	mem_free(&ec);
}

void
edge_conf_use_lists(const struct edge_conf *ec)
{
	struct rbl_settings settings = rbl_settings_of(conf_params(ec->conf));
	rbl_health_begin(&settings);
	for (size_t i = 0; i < ec->n; i++)
		if (ec->services[i] != NULL) {
			policy_use_lists(ec->services[i]->policy);
			rbl_sites_use(ec->services[i]->triage != NULL ? ec->services[i]->triage->sites : NULL);
		}
	rbl_health_end();
}

static void
check_footer(struct conf *c, const struct edge_service *svc)
{
	const struct footer_values values = { SPAN("192.0.2.1"), 25, "x", 0 };
	struct buf b;
	struct err e;
	buf_init(&b, REPLY_MAX_OCTETS);
	if (footer_expand(span_str(svc->p->p_smtpd_reject_footer), &values, &b, &e) != RC_OK)
		conf_problem(c, CONF_WARNING, svc->row, "smtpd_reject_footer", "smtpd_reject_footer: %s: it is left out", e.why);
	buf_fini(&b);
}

/* What is said about a service that could be run as it is. */
static void
service_notes(struct conf *c, const struct edge_service *svc)
{
	check_footer(c, svc);
	check_settings_notes(c, svc->row, &svc->check);
	if (svc->triage != NULL)
		triage_conf_notes(c, svc->listener);
	if (svc->milters != NULL && svc->proxied != NULL)
		conf_problem(c, CONF_WARNING, svc->row, "smtpd_milters",
		    "smtpd_milters with smtpd_proxy_filter: milters hear the envelope, the content goes to the proxy filter alone");
	if (svc->bare_lf == BARE_LF_NO)
		conf_problem(c, CONF_NOTE, svc->row, "smtpd_forbid_bare_newline",
		    "smtpd_forbid_bare_newline = no: only <CR><LF>.<CR><LF> ends a message all the same, unless the client's commands end in bare <LF>");
}

void
edge_conf_check(struct conf *c)
{
	struct milter_set *internal = NULL, *again = NULL;
	struct err e = { .why = "" };
	(void)!open_inspection(c, &internal, &again, &e);
	milter_set_free(&internal);
	milter_set_free(&again);
	for (size_t i = 0; i < conf_service_count(c); i++) {
		struct edge_service *svc = NULL;
		if (!is_listener(conf_service(c, i)))
			continue;
		if (listener_open(c, conf_service(c, i), false, &svc, &e) == RC_OK)
			service_notes(c, svc);
		service_free(&svc);
	}
}

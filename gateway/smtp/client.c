/* SPDX-License-Identifier: BSD-2-Clause */
/* Who the client is: the one place that sets these facts, whether the socket, DNS, a proxy or XCLIENT says it. */
#include "smtp/session.h"

enum { WHO_MAX = 16 * 1024 };    /* octets of all its texts */

struct client_id
sess_client(const struct sess *s)
{
	const struct facts *f = &s->facts;
	return (struct client_id){
		.addr = f->client, .server = f->server, .port = f->client_port, .server_port = f->server_port,
		.name_rc = f->client_name_rc, .reverse_rc = f->reverse_name_rc, .name = f->client_name, .reverse = f->reverse_name,
		.login = f->login, .sasl_method = f->sasl_method, .sasl_sender = f->sasl_sender,
	};
}

static struct span
label(const struct sess *s, struct buf *b)
{
	buf_put_safe(b, s->facts.client_name, 256, false);
	buf_putc(b, '[');
	buf_put(b, s->facts.client_addr);
	buf_putc(b, ']');
	if (s->svc->p->p_smtpd_client_port_logging) {
		buf_putc(b, ':');
		if (s->facts.client_port != 0)
			buf_put_dec(b, s->facts.client_port);
		else
			buf_puts(b, "unknown");
	}
	return buf_span(b);
}

void
sess_set_client(struct sess *s, const struct client_id *id)
{
	struct facts *f = &s->facts;
	struct arena old = s->arena; /* id may point into it */
	struct buf b;
	char text[IPADDR_TEXT];
	arena_init(&s->arena, WHO_MAX);
	f->client = ipaddr_unmap(id->addr);
	f->server = ipaddr_unmap(id->server);
	f->client_port = id->port;
	f->server_port = id->server_port;
	size_t n = ipaddr_text(&f->client, text);
	f->client_addr = n > 0 ? arena_span(&s->arena, span_of(text, n)) : SPAN("unknown");
	f->client_name_rc = id->name_rc;
	f->reverse_name_rc = id->reverse_rc;
	f->client_name = id->name_rc == RC_OK ? arena_span(&s->arena, id->name) : SPAN("unknown");
	f->reverse_name = id->reverse_rc == RC_OK ? arena_span(&s->arena, id->reverse) : SPAN("unknown");
	f->login = arena_span(&s->arena, id->login);
	f->sasl_method = arena_span(&s->arena, id->sasl_method);
	f->sasl_sender = arena_span(&s->arena, id->sasl_sender);
	buf_init(&b, 512);
	s->client = arena_span(&s->arena, label(s, &b));
	buf_fini(&b);
	arena_fini(&old);
	s->no_bare_lf_rules = s->svc->bare_lf == BARE_LF_NO ||
	    matchlist_host(s->svc->bare_lf_exempt, f->client_name, &f->client, NULL) == RC_OK;
	s->may_xclient = sess_may(s, s->svc->xclient_hosts, "EHLO feature XCLIENT");
	if (!s->is_xclient) /* XCLIENT changes its own permission, as Postfix's, not that of XFORWARD */
		s->may_xforward = sess_may(s, s->svc->xforward_hosts, "EHLO feature XFORWARD");
}

bool
sess_may(struct sess *s, const struct matchlist *hosts, const char *what)
{
	struct err e;
	if (matchlist_empty(hosts))
		return false;
	switch (matchlist_host(hosts, s->facts.client_name, &s->facts.client, &e)) {
	case RC_OK:
		return true;
	case RC_TEMP:
	case RC_PERM:
		sess_warn(s, "don't know if %s should be allowed for %.*s: %s", what, (int)s->client.n, (const char *)s->client.p, e.why);
		break;
	case RC_NONE:
		break;
	}
	return false;
}

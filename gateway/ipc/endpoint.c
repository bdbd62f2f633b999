/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/endpoint.h"

#include "base/ipaddr.h"
#include "base/mem.h"
#include "conf/ports.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

enum { KEY_MAX = 1024, HOST_MAX = 255, PATH_MAX_OCTETS = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

/* ---- syntax ---- */

static bool
is_clean(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
			return false;
	return s.n > 0;
}

static bool
is_path(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return s.n > 0 && s.n <= PATH_MAX_OCTETS;
}

static enum rc
parse_inet(struct span text, struct endpoint_text *out, struct err *e)
{
	size_t colon = span_rchr(text, ':');
	out->host = colon == SIZE_MAX ? SPAN_EMPTY : span_head(text, colon);
	out->port = colon == SIZE_MAX ? text : span_from(text, colon + 1);
	struct span h = out->host;
	bool bracketed = h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']';
	if (bracketed) {
		h = span_head(span_from(h, 1), h.n - 2);
		if (span_casestarts(h, SPAN("IPv6:")))
			h = span_from(h, 5);
	}
	if (!is_clean(out->port) || h.n > HOST_MAX || (h.n > 0 && !is_clean(h)) || (bracketed && h.n == 0) ||
	    span_chr(h, '[') != SIZE_MAX || span_chr(h, ']') != SIZE_MAX)
		return err_set(e, RC_PERM, "need inet:host:port");
	struct ipaddr a;
	if (span_chr(h, ':') != SIZE_MAX && (!bracketed || ipaddr_parse(h, &a) != RC_OK))
		return err_set(e, RC_PERM, bracketed ? "not an IPv6 address in the brackets" : "an IPv6 address needs brackets: inet:[address]:port");
	out->host = h;
	return RC_OK;
}

enum rc
endpoint_parse(struct span text, struct endpoint_text *out, struct err *e)
{
	*out = (struct endpoint_text){ 0 };
	if (span_starts(text, SPAN("inet:")))
		return parse_inet(span_from(text, 5), out, e);
	size_t head = span_starts(text, SPAN("unix:")) ? 5 : span_starts(text, SPAN("local:")) ? 6 : 0;
	if (head == 0)
		return err_set(e, RC_PERM, "need inet:host:port or unix:path");
	out->is_unix = true;
	out->path = span_from(text, head);
	if (!is_path(out->path))
		return err_set(e, RC_PERM, "the path is empty, too long, or has control characters");
	return RC_OK;
}

/* ---- addresses ---- */

static void
add_address(struct endpoint *ep, const struct ipaddr *a, uint16_t port)
{
	if (ep->naddrs == ENDPOINT_ADDRS)
		return;
	struct sockaddr_storage *to = &ep->addrs[ep->naddrs];
	if (a->family == IPADDR_V4) {
		struct sockaddr_in *in = (struct sockaddr_in *)to;
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, a->b, 4);
		ep->lens[ep->naddrs++] = sizeof *in;
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, a->b, 16);
		ep->lens[ep->naddrs++] = sizeof *in6;
	}
}

/* "port address address ...": how a name is noted for the roles. */
static void
resolve(struct span host, struct span port, const char *known_ports, struct buf *out, struct err *e)
{
	uint16_t number;
	char h[HOST_MAX + 1], p[8];
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list = NULL;
	snprintf(h, sizeof h, "%.*s", (int)host.n, (const char *)host.p);
	if (port_find(port, known_ports, &number) != RC_OK) {
		(void)err_set(e, RC_PERM, "there is no port \"%.*s\"", (int)span_head(port, 40).n, (const char *)port.p);
		return;
	}
	snprintf(p, sizeof p, "%u", (unsigned)number);
	int err = getaddrinfo(host.n > 0 ? h : "localhost", p, &hints, &list);
	if (err != 0) {
		(void)err_set(e, RC_TEMP, "%s:%s: %s", h, p, gai_strerror(err));
		return;
	}
	bool first = true;
	for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
		struct ipaddr a;
		uint16_t n;
		char text[IPADDR_TEXT];
		if (!ipaddr_from_sockaddr(ai->ai_addr, &a, &n))
			continue;
		if (first)
			buf_put_dec(out, n);
		first = false;
		(void)ipaddr_text(&a, text);
		buf_printf(out, " %s", text);
	}
	freeaddrinfo(list);
}

static void
take_noted(struct endpoint *ep, const char *noted)
{
	struct span rest = span_str(noted), word;
	struct ipaddr a;
	uint64_t port;
	if (!span_word(&rest, " ", &word) || !span_u64(word, 65535, &port))
		return;
	while (span_word(&rest, " ", &word))
		if (ipaddr_parse(word, &a) == RC_OK)
			add_address(ep, &a, (uint16_t)port);
}

static const char *
note_key(struct buf *b, const char *kind, struct span what)
{
	buf_puts(b, kind);
	buf_put(b, what);
	return buf_cstr(b);
}

static enum rc
open_inet(struct conf *c, const struct service *s, const char *parameter, const struct endpoint_text *t, struct span text, struct endpoint *ep,
    struct err *e)
{
	struct ipaddr a;
	uint64_t port;
	if (span_u64(t->port, 65535, &port) && ipaddr_parse(t->host, &a) == RC_OK) {
		if (port == 0)
			return err_set(e, RC_PERM, "port 0");
		add_address(ep, &a, (uint16_t)port);
		return RC_OK;
	}
	struct buf key, noted;
	struct err why = { 0 };
	buf_init(&key, KEY_MAX);
	buf_init(&noted, KEY_MAX);
	(void)note_key(&key, "dial inet ", text);
	if (conf_is_loader(c) && conf_attached(c, buf_cstr(&key)) == NULL) {
		resolve(t->host, t->port, conf_params(c)->p_known_tcp_ports, &noted, &why);
		if (buf_len(&noted) == 0)
			conf_problem(c, CONF_WARNING, s, parameter, "%s: %s: until a reload finds it, this server does not answer", parameter,
			    why.why[0] != '\0' ? why.why : "no address");
		conf_attach(c, buf_cstr(&key), buf_cstr(&noted));
	}
	const char *found = conf_attached(c, buf_cstr(&key));
	if (found != NULL)
		take_noted(ep, found);
	buf_fini(&key);
	buf_fini(&noted);
	return RC_OK;
}

/* A socket that Postfix's master would listen on for a program that we do not run: nobody will answer there. */
static enum rc
check_listener(const struct conf *c, struct span path, struct err *e)
{
	struct span name = span_starts(path, SPAN("private/")) ? span_from(path, 8) : span_starts(path, SPAN("public/")) ? span_from(path, 7) : SPAN_EMPTY;
	for (size_t i = 0; name.n > 0 && i < conf_service_count(c); i++) {
		const struct service *s = conf_service(c, i);
		if (strcmp(s->type, "unix") == 0 && span_eq_str(name, s->name) && s->kind == SERVICE_UNSUPPORTED)
			return err_set(e, RC_PERM, "master.cf has %s run %s, which is not done here: run its program behind a socket of your own and name that, "
			    "or take the line out if something else listens there", s->command, s->name);
	}
	return RC_OK;
}

static enum rc
open_unix(struct conf *c, const struct endpoint_text *t, struct endpoint *ep, struct err *e)
{
	struct buf b, key;
	buf_init(&b, 4 * PATH_MAX_OCTETS + 4096);
	if (t->path.p[0] != '/') {
		buf_puts(&b, conf_params(c)->p_queue_directory);
		buf_putc(&b, '/');
	}
	buf_put(&b, t->path);
	enum rc rc = RC_OK;
	if (b.over || buf_len(&b) > PATH_MAX_OCTETS) {
		rc = err_set(e, RC_PERM, "the path is too long for a socket: %s", buf_cstr(&b));
	} else {
		ep->path = mem_zalloc(buf_len(&b) + 1);
		memcpy(ep->path, buf_cstr(&b), buf_len(&b));
		buf_init(&key, KEY_MAX);
		if (conf_is_loader(c))
			conf_attach(c, note_key(&key, "dial unix ", buf_span(&b)), "");
		buf_fini(&key);
	}
	buf_fini(&b);
	return rc;
}

bool
endpoint_is_named(const struct conf *c, struct span path)
{
	struct buf key;
	buf_init(&key, KEY_MAX);
	bool is = is_path(path) && conf_attached(c, note_key(&key, "dial unix ", path)) != NULL;
	buf_fini(&key);
	return is;
}

enum rc
endpoint_open(struct conf *c, const struct service *s, const char *parameter, struct span text, struct endpoint **out, struct err *e)
{
	struct endpoint_text t;
	*out = NULL;
	enum rc rc = endpoint_parse(text, &t, e);
	if (rc != RC_OK)
		return rc;
	struct endpoint *ep = mem_zalloc(sizeof *ep);
	struct span shown = span_from(text, span_chr(text, ':') + 1);
	ep->shown = mem_zalloc(shown.n + 1);
	memcpy(ep->shown, shown.p, shown.n);
	if (t.is_unix && conf_is_loader(c))
		rc = check_listener(c, t.path, e);
	if (rc == RC_OK)
		rc = t.is_unix ? open_unix(c, &t, ep, e) : open_inet(c, s, parameter, &t, text, ep, e);
	if (rc != RC_OK)
		endpoint_free(&ep);
	*out = ep;
	return rc;
}

void
endpoint_free(struct endpoint **ep)
{
	if (*ep == NULL)
		return;
	mem_free(&(*ep)->shown);
	mem_free(&(*ep)->path);
	mem_free(ep);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.h - TLS when we are the client: the contexts of a service, what a session must be, who answered. Facts 8.3.
 *
 * A handshake always runs to its end, whoever the server is; then tls_client_judge() says what came of it, and the caller
 * whether that is enough. Names are compared as Postfix does it: only with DNS names of the certificate, with its common name
 * where there are none; a wildcard is a whole left-most label. Sessions are remembered for their host and policy, in memory,
 * at most TLS_SESSIONS_MAX per service. Runs in: relay; the loader opens once to look at files and values.
 */
#ifndef TLS_CLIENT_H
#define TLS_CLIENT_H

#include "conf/conf.h"
#include "tls/peer.h"

enum { TLS_SESSIONS_MAX = 2000 };

/* In the order of what they ask for. */
enum tls_demand {
	TLS_DEMAND_UNKNOWN = 0, TLS_DEMAND_NONE, TLS_DEMAND_MAY, TLS_DEMAND_ENCRYPT, TLS_DEMAND_FINGERPRINT, TLS_DEMAND_HALF_DANE, TLS_DEMAND_DANE, TLS_DEMAND_DANE_ONLY, TLS_DEMAND_VERIFY, TLS_DEMAND_SECURE,
};
enum tls_demand tls_demand_parse(struct span word);    /* TLS_DEMAND_UNKNOWN: no such word */
const char *tls_demand_name(enum tls_demand level);
static inline bool
tls_demand_is_dane(enum tls_demand level)
{
	return level >= TLS_DEMAND_HALF_DANE && level <= TLS_DEMAND_DANE_ONLY;
}

/* What one session must be. Strings are borrowed; NULL: what the service says. */
struct tls_wish {
	enum tls_demand level;
	const char *protocols, *grade, *exclude;
	const char *sni;             /* "hostname", "nexthop", a name, "" */
	const char *match;           /* names and strategies, separated by ':', comma or blank */
	const char *fingerprints;    /* separated by '|', comma or blank */
	const char *anchors;         /* file of trust anchors in the place of all CAs; "" or NULL: none */
	const char *host, *nexthop;  /* the server's name; the next hop without brackets and port */
	const char *key;             /* of sessions that may be resumed; NULL: none */
};

struct tls_client;

/* Problems go to the configuration: RC_PERM, or (roles) RC_TEMP. *out is given in any case; free it. */
enum rc tls_client_open(struct conf *c, const struct service *s, bool lmtp, struct tls_client **out, struct err *e) MUST_CHECK;
void tls_client_free(struct tls_client **tp);        /* NULL inside is fine */
unsigned tls_client_loglevel(const struct tls_client *t);
/* Is there anything a certificate could be verified with? */
bool tls_client_has_cas(const struct tls_client *t);
/* Looks at the values of a wish, and makes a file of trust anchors known (loader: reads it). */
enum rc tls_client_check(struct tls_client *t, const struct tls_wish *w, struct err *e) MUST_CHECK;
/* A connection that is ready for its handshake; given to the caller. */
enum rc tls_client_ssl(struct tls_client *t, const struct tls_wish *w, SSL **out, struct err *e) MUST_CHECK;
/* After the handshake: is_matched as the level wants it; who was to match and does not is not trusted, as in Postfix. */
void tls_client_judge(struct tls_client *t, SSL *ssl, const struct tls_wish *w, struct tls_peer *out);
/* Why a certificate is not trusted, or its name not the one wanted, in Postfix's words; server: "host[address]:port". */
void tls_client_explain(SSL *ssl, const struct tls_peer *p, enum tls_demand level, const char *server, struct buf *out);
/* The session led to nothing: it is not resumed. */
void tls_client_forget(struct tls_client *t, const char *key);

/* Does the certificate have one of the names a wish lists? For TLS_DEMAND_VERIFY and TLS_DEMAND_SECURE. */
bool tls_names_match(X509 *cert, const struct tls_wish *w, bool many_labels);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole SMTP server session over a socketpair, with a queue of our own behind a real channel. Property: every
 * reply is one or more clean lines of at most 512 octets; what is submitted has CRLF line ends only and the sum and
 * length that were said; afterwards no session, transaction, op, draft or connection is left.
 *
 * AUTH: an auth process of our own behind the channel that the real one has; it says yes, no, not now, nonsense, nothing for a while, and
 * dies. Properties: 235 only for a yes of the backend, and one a session; no login in the facts and in Received, no relaying, without
 * it; 334 is base64, and only what may follow it follows; a login that is over is over there, too; where input is secret none of a
 * password is left in the buffer behind what was consumed.
 */
#include "base/base64.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/metric.h"
#include "ipc/child.h"
#include "ipc/msgs.h"
#include "sasl/cyrus.h"
#include "smtp/session.h"
#include "turn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct edge edge;

#define AUTH_SETTINGS \
	"smtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 10000\nsmtpd_junk_command_limit = 10000\nsmtpd_forbid_unauth_pipelining = no\n" \
	"smtpd_peername_lookup = no\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = cyrus\nsmtpd_sasl_failure_delay = 0s\n" \
	"smtpd_sasl_authenticated_header = yes\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n"

static const char *const settings[] = {
	"smtpd_error_sleep_time = 0\nmessage_size_limit = 5000\nspool_inline_limit = 500\nsmtpd_recipient_limit = 3\nheader_size_limit = 300\n"
	"smtpd_hard_error_limit = 10000\nsmtpd_junk_command_limit = 10000\nsmtpd_forbid_unauth_pipelining = no\nline_length_limit = 512\n"
	"hopcount_limit = 3\n",
	"smtpd_error_sleep_time = 0\nsmtpd_forbid_bare_newline = reject\nsmtpd_helo_required = yes\nstrict_rfc821_envelopes = yes\n",
	/* whoever comes may say who else it is */
	"smtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 10000\nsmtpd_junk_command_limit = 10000\nsmtpd_forbid_unauth_pipelining = no\n"
	"smtpd_peername_lookup = no\nsmtpd_authorized_xclient_hosts = 127.0.0.1, 192.0.2.0/24, a.b.c\nsmtpd_authorized_xforward_hosts = 127.0.0.1\n"
	"smtpd_delay_reject = no\nsmtpd_client_restrictions = check_client_access inline:{192.0.2.7=REJECT}\n"
	"smtpd_recipient_restrictions = check_greylist\ngreylist_unavailable = defer\nfast_flush_domains = b.c\n",
	/* behind a balancer */
	"smtpd_error_sleep_time = 0\nsmtpd_peername_lookup = no\nsmtpd_upstream_proxy_protocol = haproxy\nsmtpd_forbid_unauth_pipelining = no\n",
	/* triage: nobody gets past the engine; whoever talks first meets it; everybody is watched in the real session */
	("smtpd_triage = yes\npostscreen_access_list = reject\npostscreen_denylist_action = enforce\npostscreen_non_smtp_command_action = ignore\n"
	"postscreen_pipelining_action = ignore\npostscreen_command_count_limit = 10000\npostscreen_command_filter = inline:{{hello=NOOP}}\n"
	"postscreen_reject_footer = x $client_address\nline_length_limit = 512\n"),
	"smtpd_triage = yes\npostscreen_greet_action = enforce\npostscreen_bare_newline_action = enforce\npostscreen_access_list =\n",
	("smtpd_triage = yes\npostscreen_greet_banner =\npostscreen_access_list =\npostscreen_pipelining_enable = yes\npostscreen_non_smtp_command_enable = yes\n"
	"postscreen_bare_newline_enable = yes\npostscreen_non_smtp_command_action = enforce\nsmtpd_peername_lookup = no\nsmtpd_error_sleep_time = 0\n"),
	/* logins: from here on */
	AUTH_SETTINGS "smtpd_sasl_lockout_limit = 0\nsmtpd_sasl_lockout_client_limit = 0\nsmtpd_sasl_lockout_user_limit = 0\n",
	AUTH_SETTINGS "smtpd_sasl_security_options =\nsmtpd_sasl_response_limit = 200\nsmtpd_sasl_lockout_limit = 3\nbroken_sasl_auth_clients = yes\n"
	"smtpd_helo_required = yes\n",
	AUTH_SETTINGS "smtpd_tls_auth_only = yes\n",
};
enum { FIRST_OF_AUTH = NELEMS(settings) - 3, LAST_OF_AUTH = NELEMS(settings) - 1 };
static struct edge_conf *confs[NELEMS(settings)];

static void
check_content(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		BUG_ON(s.p[i] == '\0');
		BUG_ON(s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'));
		BUG_ON(s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'));
	}
	BUG_ON(!span_starts(s, SPAN("Received: ")) || !span_caseends(s, SPAN("\r\n")));
}

/* ---- the auth process ---- */

static struct {
	struct ipc_chan *chan;
	bool dies;
	unsigned away;           /* turns until there is another one */
	uint64_t context;        /* of the login under way, 0: none */
	uint64_t last;           /* of the latest one: it may be ended while its answer is on the way */
	bool theirs;             /* it waits for the client */
	uint64_t call, late;     /* late: turns until call is answered, 0: nothing is held back */
	bool late_yes;
	/* this session */
	unsigned yes, seen_yes, challenges, seen_challenges;
	bool was_challenge;      /* the last reply */
	unsigned char user[256];
	size_t user_n;
} backend;

static void
say(uint64_t call, enum auth_outcome outcome, struct span text, struct span user)
{
	if (backend.context != 0 && outcome == AUTH_DONE && user.n <= sizeof backend.user) {
		backend.yes++;
		if (user.n > 0)
			memcpy(backend.user, user.p, user.n);
		backend.user_n = user.n;
	}
	if (outcome == AUTH_GOES_ON)
		backend.challenges++;
	backend.theirs = outcome == AUTH_GOES_ON;
	if (!backend.theirs)
		backend.context = 0;
	msg_auth_said_put(ipc_answer_begin(backend.chan, call), &(struct msg_auth_said){ outcome, text, user });
	ipc_end(backend.chan);
}

/* What the client says decides what becomes of it. */
static void
decide(uint64_t call, struct span r)
{
	static unsigned char challenge[9000];
	struct span some = span_head(r, 200);
	if (span_caseends(r, SPAN("secret"))) {
		say(call, AUTH_DONE, SPAN_EMPTY, SPAN("anna@b.c"));
		return;
	}
	switch (r.n == 0 ? 0 : r.p[r.n - 1] % 16) {
	case 0: case 1: case 2: case 3:
		for (size_t i = 0; i < sizeof challenge; i++)
			challenge[i] = (unsigned char)(i + r.n);
		say(call, AUTH_GOES_ON, span_of(challenge, r.n < 2 ? r.n : r.p[0] * r.n % sizeof challenge), SPAN_EMPTY);
		break;
	case 4: case 5:
		say(call, AUTH_FAILED, some, some);
		break;
	case 6:
		say(call, AUTH_NOT_NOW, some, SPAN_EMPTY);
		break;
	case 7:
		say(call, AUTH_DONE, SPAN_EMPTY, some);
		break;
	case 8:
		say(call, AUTH_DONE, some, SPAN_EMPTY);
		break;
	case 9:
		backend.context = 0;
		buf_put(ipc_answer_begin(backend.chan, call), some);
		ipc_end(backend.chan);
		break;
	case 10:
		backend.dies = true;
		break;
	case 11: case 12:
		backend.call = call;
		backend.late = 2 + r.n % 4;
		backend.late_yes = r.p[r.n - 1] % 16 == 12;
		break;
	default:
		say(call, AUTH_FAILED, SPAN_EMPTY, SPAN_EMPTY);
	}
}

static enum rc
on_auth_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	if (f->type == IPC_AUTH_MECHS) {
		struct msg_auth_mechs m;
		BUG_ON(msg_auth_mechs_get(f->payload, &m) != RC_OK);
		msg_auth_offer_put(ipc_answer_begin(c, f->id), &(struct msg_auth_offer){ RC_OK, SPAN("PLAIN LOGIN CRAM-MD5 XOAUTH2 ANONYMOUS") });
		ipc_end(c);
	} else if (f->type == IPC_AUTH_BEGIN) {
		struct msg_auth_begin m;
		BUG_ON(msg_auth_begin_get(f->payload, &m) != RC_OK || backend.context != 0 || m.context == 0);
		BUG_ON(edge.conf == confs[LAST_OF_AUTH]); /* only under TLS */
		backend.context = backend.last = m.context;
		backend.theirs = false;
		decide(f->id, m.initial);
	} else if (f->type == IPC_AUTH_STEP) {
		struct msg_auth_step m;
		BUG_ON(msg_auth_step_get(f->payload, &m) != RC_OK || m.context != backend.context || !backend.theirs);
		backend.theirs = false;
		decide(f->id, m.response);
	} else {
		struct cur rd = cur_of(f->payload);
		BUG_ON(f->type != IPC_AUTH_END || cur_u64(&rd) != backend.last || !cur_done(&rd));
		backend.context = 0; /* an answer that is held back is given all the same */
	}
	return RC_OK;
}

static void
on_auth_down(struct ipc_chan *c)
{
	(void)c;
	BUG("the channel to the auth process went down");
}

static const struct ipc_chan_ops auth_ops = { on_auth_frame, on_auth_down };

static void
auth_process(void)
{
	static struct child child = { .ops = &edge_role };
	int fds[2];
	ipc_chan_free(&backend.chan);
	backend.context = backend.last = backend.late = 0;
	backend.dies = false;
	BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0);
	cyrus_peer(&child, 0, fds[0]);
	backend.chan = ipc_chan_new(fds[1], ROLE_AUTH, ROLE_EDGE, 0, &auth_ops, NULL);
}

/* What is due after a turn. */
static void
auth_turn(void)
{
	if (backend.dies) {
		ipc_chan_free(&backend.chan);
		backend.context = backend.late = 0;
		backend.dies = false;
		backend.away = 4;
	} else if (backend.away > 0 && --backend.away == 0)
		auth_process();
	else if (backend.late > 0 && --backend.late == 0)
		say(backend.call, backend.late_yes ? AUTH_DONE : AUTH_FAILED, SPAN_EMPTY, SPAN("late"));
}

static bool
is_auth_conf(void)
{
	for (size_t i = FIRST_OF_AUTH; i <= LAST_OF_AUTH; i++)
		if (edge.conf == confs[i])
			return true;
	return false;
}

/* A reply of the server, without CRLF. */
static void
check_auth_reply(struct span s)
{
	static const char *const behind_challenge[] = { "235", "334", "535", "454", "501", "500", "421" };
	bool fits = !backend.was_challenge;
	struct buf b;
	for (size_t i = 0; i < NELEMS(behind_challenge) && !fits; i++)
		fits = span_starts(s, span_str(behind_challenge[i]));
	BUG_ON(!fits);
	backend.was_challenge = span_starts(s, SPAN("334"));
	if (backend.was_challenge) {
		buf_init(&b, 65536);
		BUG_ON(++backend.seen_challenges > backend.challenges || base64_decode(span_from(s, 4), &b) != RC_OK);
		buf_fini(&b);
	}
	if (span_starts(s, SPAN("235")))
		BUG_ON(++backend.seen_yes > backend.yes || backend.seen_yes > 1);
}

/* The session as it is between two turns. */
static void
check_auth_session(void)
{
	static const char password[] = "c2VjcmV0"; /* the end of what gets a yes, as it is on the wire */
	list_each(it, &edge.sessions) {
		const struct sess *s = list_entry(it, struct sess, link);
		const struct buf *b = &s->conn.in;
		BUG_ON(s->facts.login.n > 0 && (backend.yes == 0 || !span_eq(s->facts.login, span_of(backend.user, backend.user_n))));
		BUG_ON(s->facts.sasl_method.n > 0 && backend.yes == 0);
		if (b->is_secret && b->p != NULL)
			BUG_ON(memmem(b->p, b->at, password, 8) != NULL || memmem(b->p + b->n, b->cap - b->n, password, 8) != NULL);
	}
}

static int last_draft = -1;

static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	static uint64_t drafts;
	if (f->type == IPC_DRAFT) {
		const struct msg_draft d = { SUBMIT_OK, ++drafts };
		msg_draft_put(ipc_answer_begin(c, f->id), &d);
		int fd = memfd_create("draft", MFD_CLOEXEC);
		BUG_ON(fd < 0);
		if (last_draft >= 0)
			close(last_draft);
		last_draft = dup(fd);
		ipc_send_fd(c, fd);
	} else if (f->type == IPC_SUBMIT) {
		struct msg_submit m;
		BUG_ON(msg_submit_get(f->payload, &m) != RC_OK);
		struct arena a;
		struct envelope env;
		arena_init(&a, 1 << 20);
		BUG_ON(envelope_get(m.envelope, &a, &env) != RC_OK || env.nrcpt == 0);
		for (size_t i = 0; i < env.nrcpt && is_auth_conf() && backend.yes == 0; i++)
			BUG_ON(!span_caseends(env.rcpt[i].addr, SPAN("@b.c")));
		arena_fini(&a);
		void *p = m.draft == 0 ? NULL : mmap(NULL, m.content_len, PROT_READ, MAP_SHARED, last_draft, 0);
		BUG_ON(p == MAP_FAILED);
		struct span content = m.draft == 0 ? m.content : span_of(p, m.content_len);
		BUG_ON(crc32c(0, content) != m.content_crc);
		check_content(content);
		size_t by = span_find(content, SPAN("\r\n\tby "));
		BUG_ON(is_auth_conf() && backend.yes == 0 && span_find(span_head(content, by), SPAN("(Authenticated sender: ")) != SIZE_MAX);
		if (p != NULL)
			munmap(p, m.content_len);
		const struct msg_submitted ok = { .outcome = SUBMIT_OK };
		msg_submitted_put(ipc_answer_begin(c, f->id), &ok);
		ipc_end(c);
	} else if (f->type == IPC_ETRN) {
		struct span site;
		BUG_ON(msg_etrn_get(f->payload, &site) != RC_OK);
		msg_etrn_answer_put(ipc_answer_begin(c, f->id), site.n % 2 == 0);
		ipc_end(c);
	} else if (f->type == IPC_TRIAGE_FIND) {
		struct ipaddr a;
		BUG_ON(msg_triage_find_get(f->payload, &a) != RC_OK);
		msg_triage_found_put(ipc_answer_begin(c, f->id), &(struct msg_triage_found){ 0 });
		ipc_end(c);
	} else if (f->type == IPC_TRIAGE_KEEP) {
		struct msg_triage m;
		BUG_ON(msg_triage_keep_get(f->payload, &m) != RC_OK);
	} else if (f->type == IPC_GREYLIST) {
		struct msg_greylist m;
		BUG_ON(msg_greylist_get(f->payload, &m) != RC_OK);
		const struct msg_greylist_answer a = { (enum greylist_verdict)(1 + m.rcpt.n % 4), (uint32_t)m.sender.n };
		msg_greylist_answer_put(ipc_answer_begin(c, f->id), &a);
		ipc_end(c);
	}
	return RC_OK;
}

static void
on_down(struct ipc_chan *c)
{
	(void)c;
	BUG("the channel to the queue went down");
}

static const struct ipc_chan_ops queue_ops = { on_frame, on_down };

static void
turn(void)
{
	turn_once();
	auth_turn();
	if (is_auth_conf())
		check_auth_session();
}

static void
write_file(const char *dir, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	BUG_ON(f == NULL);
	fputs(text, f);
	fclose(f);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	char dir[] = "/tmp/fuzz_session.XXXXXX", path[128];
	BUG_ON(mkdtemp(dir) == NULL);
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_POSTFIX, "dogana", "edge");
	loop_init();
	edge_init(&edge, 0);
	write_file(dir, "master.cf", "smtp inet n - n - - smtpd\n");
	for (size_t i = 0; i < NELEMS(settings); i++) {
		char text[2048];
		snprintf(text, sizeof text,
		    "compatibility_level = 3.6\nmyhostname = mx.example.com\nmydestination =\nmynetworks = 192.0.2.1\nrelay_domains = b.c\n"
		    "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n%s",
		    settings[i]);
		write_file(dir, "main.cf", text);
		struct conf *c;
		struct err e;
		BUG_ON(conf_load(dir, &c, &e) != RC_OK || edge_conf_open(c, &confs[i], &e) != RC_OK);
		conf_unref(&c);
	}
	snprintf(path, sizeof path, "%s/main.cf", dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/master.cf", dir);
	unlink(path);
	rmdir(dir);
	int fds[2];
	BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0);
	edge_set_queue(&edge, 0, fds[0]);
	ipc_chan_new(fds[1], ROLE_QUEUE, ROLE_EDGE, 0, &queue_ops, NULL);
	auth_process();
	for (int i = 0; i < 10; i++)
		turn();
	return 0;
}

/* Takes what the server said; false when it hung up. */
static bool
listen_to(int fd, struct buf *in)
{
	unsigned char *p = buf_reserve(in, 65536);
	BUG_ON(p == NULL);
	ssize_t n = recv(fd, p, 65536, 0);
	if (n > 0)
		buf_commit(in, (size_t)n);
	bool open = n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
	for (size_t lf; (lf = span_chr(buf_span(in), '\n')) != SIZE_MAX; buf_consume(in, lf + 1)) {
		struct span s = buf_span(in);
		bool is_challenge = span_starts(s, SPAN("334 ")); /* as long as the backend likes */
		BUG_ON(lf < 4 || (lf > 511 && !is_challenge) || s.p[lf - 1] != '\r' || s.p[0] < '2' || s.p[0] > '5' || (s.p[3] != ' ' && s.p[3] != '-'));
		for (size_t i = 0; i + 1 < lf; i++)
			BUG_ON(s.p[i] < 0x20 || s.p[i] == 0x7f);
		if (is_auth_conf())
			check_auth_reply(span_head(s, lf - 1));
		else
			BUG_ON(is_challenge || span_starts(s, SPAN("235")));
	}
	return open;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 2)
		return 0;
	int fds[2];
	struct buf in;
	BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0);
	buf_init(&in, 1 << 20);
	edge.conf = confs[p[0] % NELEMS(confs)];
	backend.yes = backend.seen_yes = backend.challenges = backend.seen_challenges = 0;
	backend.was_challenge = false;
	size_t piece = p[1] < 16 ? p[1] + 1u : p[1] * 64u;
	struct sockaddr peer = { .sa_family = AF_UNSPEC };
	sess_begin(&edge, edge.conf->services[0], fds[1], &peer, NULL);
	bool open = true;
	for (size_t at = 2; at < n && open;) {
		size_t want = n - at < piece ? n - at : piece;
		ssize_t sent = send(fds[0], p + at, want, MSG_NOSIGNAL);
		if (sent > 0)
			at += (size_t)sent;
		else if (errno != EAGAIN && errno != EWOULDBLOCK)
			break;
		turn();
		open = listen_to(fds[0], &in);
	}
	shutdown(fds[0], SHUT_WR);
	for (unsigned i = 0; edge.nsessions > 0; i++) {
		BUG_ON(i > 100000);
		turn();
		(void)listen_to(fds[0], &in);
	}
	turn();
	for (unsigned i = 0; i < 100 && (backend.late > 0 || backend.dies || backend.away > 0 || metric_values[M_op_pending] != 0); i++)
		turn();
	BUG_ON(backend.context != 0); /* the login ended with its session */
	while (listen_to(fds[0], &in) && buf_len(&in) > 0)
		;
	BUG_ON(buf_len(&in) > 0); /* half a reply */
	BUG_ON(metric_values[M_smtpd_sessions] != 0 || metric_values[M_smtpd_transactions] != 0 || metric_values[M_smtpd_drafts] != 0 ||
	       metric_values[M_op_pending] != 0 || metric_values[M_conns] != 0);
	close(fds[0]);
	buf_fini(&in);
	return 0;
}

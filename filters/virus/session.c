/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/session.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "filters/milter_wire.h"
#include "filters/virus/answer.h"
#include "loop/conn.h"

#include <openssl/evp.h>

enum { SESSION_MAGIC = 0x5e550001, KEEP_BUFFER = 32 * 1024, HEADER_MAX = 600, OUT_MAX = 256 * 1024, QID_MAX = 64 };
static const uint64_t IDLE_USEC = 7210 * USEC_PER_SEC, PROGRESS_EVERY = 5 * USEC_PER_SEC;

static const uint32_t actions = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_QUARANTINE;
static const uint32_t steps = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NOEOH |
    SMFIP_NR_HDR | SMFIP_NR_BODY | SMFIP_HDR_LEADSPC;

/* What belongs to a message is reset with it. */
struct session {
	unsigned magic;
	struct conn conn;
	struct op_owner ops;
	struct examination examination;
	struct timer progress;       /* while it is examined */
	bool has_options;
	uint32_t steps;              /* as agreed */
	/* the message */
	struct buf message;          /* as scanned: header, empty line, body */
	EVP_MD_CTX *md;
	uint64_t size;               /* octets of it, also of those that were not kept */
	uint64_t held;               /* octets of memory counted for it */
	uint64_t began;              /* the examination */
	unsigned status_headers;     /* those that are there already */
	char qid[QID_MAX];
	bool is_large, is_crowded;   /* nothing of it is kept: it will not be scanned; crowded: for want of memory */
	bool has_body, is_active, is_hashed, is_examined;
	struct grave grave;
};

static struct {
	const struct virus_conf *conf;
	struct front_counts *counts;
	EVP_MD *sha256;
	uint64_t memory;             /* held by all */
	unsigned active;
} all;

/* ---- the message ---- */

static void
account(struct session *s)
{
	all.memory = all.memory - s->held + s->message.cap;
	s->held = s->message.cap;
}

static void
end_message(struct session *s)
{
	examination_fini(&s->examination);
	timer_clear(&s->progress);
	all.active -= s->is_active;
	s->is_active = s->has_body = s->is_large = s->is_crowded = s->is_hashed = s->is_examined = false;
	s->size = 0;
	s->status_headers = 0;
	s->qid[0] = '\0';
	if (s->message.cap > KEEP_BUFFER)
		buf_fini(&s->message);
	else
		buf_reset(&s->message);
	account(s);
}

static void
begin_message(struct session *s)
{
	if (s->is_active)
		return;
	s->is_active = true;
	all.active++;
	s->is_hashed = examine_wants_hash() && s->md != NULL && EVP_DigestInit_ex(s->md, all.sha256, NULL) == 1;
}

static void
keep(struct session *s, struct span data)
{
	s->size += data.n;
	s->is_large = s->is_large || s->size > all.conf->max_file_size;
	if (!s->is_large && !s->is_crowded) {
		buf_put(&s->message, data);
		s->is_large = s->message.over;
	}
	if (s->message.cap != s->held) {
		account(s);
		/* while it grows, not when all of it is there; one of the largest always has room */
		s->is_crowded = s->message.cap > KEEP_BUFFER && all.memory > all.conf->messages_max + all.conf->max_file_size;
	}
	if ((s->is_large || s->is_crowded) && s->message.cap > 0) {
		buf_fini(&s->message);
		account(s);
	}
}

/* As it arrives, and not all at the end: nobody else would have a turn for that long. */
static void
hash(struct session *s, size_t from)
{
	struct span fresh = span_from(buf_span(&s->message), from);
	if (s->is_hashed && fresh.n > 0)
		s->is_hashed = EVP_DigestUpdate(s->md, fresh.p, fresh.n) == 1;
}

/* A value has its lines separated by LF. */
static void
keep_lines(struct session *s, struct span value)
{
	while (value.n > 0) {
		size_t nl = span_chr(value, '\n');
		struct span line = span_head(value, nl == SIZE_MAX ? value.n : nl);
		keep(s, line);
		if (nl == SIZE_MAX)
			return;
		keep(s, line.n > 0 && line.p[line.n - 1] == '\r' ? SPAN("\n") : SPAN("\r\n"));
		value = span_from(value, nl + 1);
	}
}

static void
begin_body(struct session *s)
{
	begin_message(s);
	if (!s->has_body)
		keep(s, SPAN("\r\n"));
	s->has_body = true;
}

/* ---- its end ---- */

static void
dig(struct grave *g)
{
	struct session *s = container_of(g, struct session, grave);
	mem_free(&s);
}

static void
end(struct session *s)
{
	CHECK(s, SESSION_MAGIC);
	end_message(s);
	ops_cancel_all(&s->ops);
	conn_close(&s->conn);
	buf_fini(&s->message);
	account(s);
	EVP_MD_CTX_free(s->md);
	s->magic = 0;
	loop_bury(&s->grave, dig);
}

static void
write_down(const struct session *s, const struct judgement *j, const char *action)
{
	uint64_t usec = clock_mono() - s->began;
	enum virus_kind kind = j->verdict.kind;
	bool is_why = kind == VIRUS_UNSCANNED || kind == VIRUS_ASIDE || kind == VIRUS_LIMITS;
	struct log_ctx ctx = { .qid = span_str(s->qid) };
	struct log_field fields[6] = { F_STR(status, virus_kind_word(kind)), F_STR(value, action), F_NUM(size, s->size), F_NUM(delay, usec) };
	size_t n = 4;
	if (j->verdict.name[0] != '\0')
		fields[n++] = is_why ? F_STR(reason, j->verdict.name) : F_STR(signature, j->verdict.name);
	log_event(EV_virus_verdict, &ctx, fields, n);
	atomic_fetch_add(&all.counts->scanned, 1);
	atomic_fetch_add(&all.counts->octets, s->size);
	atomic_fetch_add(&all.counts->usec, usec);
	atomic_fetch_add(&all.counts->kinds[kind], 1);
}

static void
answer(struct session *s, const struct judgement *j)
{
	const char *action = answer_put(all.conf, j, s->status_headers, (s->steps & SMFIP_HDR_LEADSPC) != 0, conn_out(&s->conn));
	write_down(s, j, action);
	end_message(s);
}

static void
on_examined(struct op *op)
{
	struct session *s = container_of(op, struct session, examination.op);
	CHECK(s, SESSION_MAGIC);
	answer(s, &s->examination.said);
}

static void
on_progress(struct timer *t)
{
	struct session *s = container_of(t, struct session, progress);
	CHECK(s, SESSION_MAGIC);
	mw_simple(conn_out(&s->conn), SMFIR_PROGRESS);
	timer_set(t, PROGRESS_EVERY);
}

static void
on_end(struct session *s)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	struct judgement j = { .is_cached = false };
	s->began = clock_mono();
	s->is_examined = true;
	if (s->is_large) {
		j.verdict = virus_verdict_why(VIRUS_LIMITS, "larger than virus_max_file_size");
		answer(s, &j);
	} else if (s->is_crowded) {
		j.verdict = virus_verdict_why(VIRUS_UNSCANNED, "too much mail at the same time");
		answer(s, &j);
	} else {
		bool has_hash = s->is_hashed && EVP_DigestFinal_ex(s->md, sum, NULL) == 1;
		timer_set(&s->progress, PROGRESS_EVERY);
		examine(&s->examination, buf_span(&s->message), has_hash ? sum : NULL);
	}
}

/* ---- what the MTA says ---- */

/* RC_PERM: it cannot be spoken with. */
static enum rc
on_options(struct session *s, struct span data)
{
	struct cur c = cur_of(data);
	uint32_t version = cur_be32(&c), may = cur_be32(&c), offered = cur_be32(&c);
	if (c.bad || version < 2)
		return RC_PERM;
	if ((may & actions) != actions) {
		log_error(NULL, "the MTA does not offer what is needed (actions 0x%x of 0x%x)", may & actions, actions);
		return RC_PERM;
	}
	s->has_options = true;
	s->steps = offered & steps;
	bool has_list = version >= SMFI_PROT_VERSION && (may & SMFIF_SETSYMLIST) != 0;
	struct buf *b = conn_out(&s->conn);
	size_t mark = mw_begin(b, SMFIC_OPTNEG);
	mw_be32(b, version < SMFI_PROT_VERSION ? version : SMFI_PROT_VERSION);
	mw_be32(b, actions | (has_list ? SMFIF_SETSYMLIST : 0));
	mw_be32(b, s->steps);
	if (has_list) {
		mw_be32(b, SMFIM_EOM);
		mw_string(b, SPAN("i"));
	}
	mw_end(b, mark);
	return RC_OK;
}

/* The queue id; the rest is not asked for. */
static void
on_macros(struct session *s, struct span data)
{
	struct span name, value;
	for (data = span_from(data, 1); data.n > 0 && mw_one(data, &name, &data) == RC_OK && mw_one(data, &value, &data) == RC_OK;)
		if ((span_eq_str(name, "i") || span_eq_str(name, "{i}")) && value.n < sizeof s->qid) {
			memcpy(s->qid, value.p, value.n);
			s->qid[value.n] = '\0';
		}
}

static enum rc
on_header(struct session *s, struct span data)
{
	struct span name, value;
	begin_message(s);
	size_t from = buf_len(&s->message);
	if (mw_two(data, &name, &value) != RC_OK)
		return RC_PERM;
	s->status_headers += answer_is_status_header(name);
	keep(s, name);
	keep(s, (s->steps & SMFIP_HDR_LEADSPC) != 0 ? SPAN(":") : SPAN(": "));
	keep_lines(s, value);
	keep(s, SPAN("\r\n"));
	hash(s, from);
	return RC_OK;
}

static void
on_body(struct session *s, struct span data)
{
	size_t from = buf_len(&s->message);
	begin_body(s);
	keep(s, data);
	hash(s, from);
}

static void
go_on(struct session *s)
{
	mw_simple(conn_out(&s->conn), SMFIR_CONTINUE);
}

/* RC_NONE: the session is to end; RC_PERM: what came is not the protocol. */
static enum rc
on_frame(struct session *s, const struct mw_frame *f)
{
	if (f->cmd == SMFIC_QUIT)
		return RC_NONE;
	if (f->cmd == SMFIC_OPTNEG ? s->has_options : !s->has_options)
		return RC_PERM;
	if (s->is_examined && f->cmd != SMFIC_ABORT && f->cmd != SMFIC_QUIT_NC)
		return RC_PERM; /* it has to wait for the answer */
	switch (f->cmd) {
	case SMFIC_OPTNEG:
		return on_options(s, f->data);
	case SMFIC_MACRO:
		on_macros(s, f->data);
		return RC_OK;
	case SMFIC_HEADER:
		if ((s->steps & SMFIP_NR_HDR) == 0)
			go_on(s);
		return on_header(s, f->data);
	case SMFIC_BODY:
		if ((s->steps & SMFIP_NR_BODY) == 0)
			go_on(s);
		on_body(s, f->data);
		return RC_OK;
	case SMFIC_BODYEOB:
		on_body(s, f->data);
		on_end(s);
		return RC_OK;
	case SMFIC_ABORT:
	case SMFIC_QUIT_NC:
		end_message(s);
		return RC_OK;
	case SMFIC_CONNECT: /* an MTA that tells it all the same */
	case SMFIC_HELO:
	case SMFIC_MAIL:
	case SMFIC_RCPT:
	case SMFIC_DATA:
	case SMFIC_UNKNOWN:
	case SMFIC_EOH:
		go_on(s);
		return RC_OK;
	default:
		return RC_PERM;
	}
}

static void
on_input(struct conn *c)
{
	struct session *s = container_of(c, struct session, conn);
	CHECK(s, SESSION_MAGIC);
	for (;;) {
		struct mw_frame f;
		uint32_t length = 0;
		enum mw_state state = mw_next(conn_input(c), &f, &length);
		if (state == MW_MORE)
			break;
		enum rc rc = state == MW_BAD ? RC_PERM : on_frame(s, &f);
		if (rc == RC_PERM)
			log_warn(NULL, "the MTA says what is not the milter protocol: its connection ends");
		if (rc != RC_OK) {
			end(s);
			return;
		}
		conn_consume(c, f.used);
	}
	conn_deadline(c, IDLE_USEC);
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	(void)why, (void)err;
	end(container_of(c, struct session, conn));
}

static const struct conn_ops session_ops = { .input = on_input, .ended = on_ended };

void
sessions_init(const struct virus_conf *conf, struct front_counts *counts)
{
	all.conf = conf;
	all.counts = counts;
	all.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL); /* OpenSSL reads its configuration now: no file can be opened later */
}

unsigned
sessions_active(void)
{
	return all.active;
}

uint64_t
sessions_memory(void)
{
	return all.memory;
}

void
session_new(int fd)
{
	struct session *s = mem_zalloc(sizeof *s);
	s->magic = SESSION_MAGIC;
	op_owner_init(&s->ops);
	examination_init(&s->examination, &s->ops, on_examined);
	timer_init(&s->progress, on_progress);
	buf_init(&s->message, all.conf->max_file_size + HEADER_MAX);
	s->md = EVP_MD_CTX_new();
	conn_init(&s->conn, fd, &session_ops, MW_FRAME_MAX + 4, OUT_MAX);
	conn_deadline(&s->conn, IDLE_USEC);
}

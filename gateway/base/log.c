/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/metric.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { GATHER_MAX = 256 * 1024, FLUSH_AT = 48 * 1024, PIPE_LINE = 4096, SYSLOG_MAIL = 2 << 3 };

struct event_row {
	const char *name, *service, *text;
	enum log_level level;
};

#define INFO LOG_L_INFO
#define WARNING LOG_L_WARNING
#define ERROR LOG_L_ERROR
static const struct event_row events[] = {
#define EVENT(name, service, level, text, doc) { #name, service, text, level },
#include "base/events.def"
#undef EVENT
};
#undef INFO
#undef WARNING
#undef ERROR

static const char *const field_names[] = {
#define FIELD(name, doc) #name,
#include "base/fields.def"
#undef FIELD
};

static const char *const level_names[] = { "debug", "info", "warning", "error" };
static const int level_syslog[] = { 7, 6, 4, 3 };

static struct {
	enum log_target target;
	enum log_format format;
	int fd;
	bool is_pipe;
	char tag[64], service[32], host[65];
	struct buf out;       /* whole lines */
	uint64_t lost;
	time_t stamp_at;
	char stamp[40];       /* prefix of this second */
	int pid;              /* asked once a second: a system call for every line is dear */
} lg = { .fd = STDERR_FILENO, .tag = "dogana", .service = "dogana", .out = { .max = GATHER_MAX } };

static const struct log_field *
find_field(enum log_field_id id, const struct log_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fields[i].id == id)
			return &fields[i];
	return NULL;
}

static enum log_field_id
field_by_name(struct span name)
{
	for (size_t i = 0; i < NELEMS(field_names); i++)
		if (span_eq_str(name, field_names[i]))
			return (enum log_field_id)i;
	return LF_COUNT;
}

/* An address or name inside <...> must not close the bracket and forge what follows. */
static void
put_field(struct buf *out, const struct log_field *f)
{
	if (f->is_num) {
		if (f->num < 0)
			buf_putc(out, '-');
		buf_put_dec(out, f->num < 0 ? (uint64_t)0 - (uint64_t)f->num : (uint64_t)f->num);
	} else {
		buf_put_safe(out, f->text, LOG_FIELD_MAX, true);
	}
}

/* Each template is compiled once to pieces: literal text, then a field; a group is a run of pieces that
 * is skipped when its field is missing. */
struct piece {
	struct span lit;
	enum log_field_id field;  /* LF_COUNT: literal only */
	enum log_field_id needs;  /* LF_COUNT: always */
};
enum { MAX_PIECES = 24 };
static struct template {
	bool ready;
	uint8_t n;
	struct piece piece[MAX_PIECES];
} templates[EV_COUNT];

static void
add_piece(struct template *t, struct span lit, enum log_field_id field, enum log_field_id needs)
{
	if (lit.n == 0 && field == LF_COUNT)
		return;
	BUG_ON(t->n == MAX_PIECES);
	t->piece[t->n++] = (struct piece){ lit, field, needs };
}

static const struct template *
template_of(enum log_event_id ev)
{
	struct template *t = &templates[ev];
	if (t->ready)
		return t;
	struct span s = span_str(events[ev].text);
	enum log_field_id needs = LF_COUNT;
	size_t from = 0;
	for (size_t i = 0; i < s.n;) {
		struct span rest = span_from(s, i);
		if (s.p[i] == '{') {
			bool opens = rest.n > 1 && rest.p[1] == '?';
			size_t start = opens ? 2 : 1, stop = span_chr(rest, opens ? ':' : '}');
			BUG_ON(stop == SIZE_MAX);
			enum log_field_id id = field_by_name(span_head(span_from(rest, start), stop - start));
			BUG_ON(id == LF_COUNT);
			struct span lit = span_head(span_from(s, from), i - from);
			add_piece(t, lit, opens ? LF_COUNT : id, needs);
			if (opens)
				needs = id;
			i += stop + 1;
			from = i;
		} else if (s.p[i] == '}' && needs != LF_COUNT) {
			add_piece(t, span_head(span_from(s, from), i - from), LF_COUNT, needs);
			needs = LF_COUNT;
			from = ++i;
		} else {
			i++;
		}
	}
	add_piece(t, span_from(s, from), LF_COUNT, LF_COUNT);
	t->ready = true;
	return t;
}

static void
render_postfix(struct buf *out, enum log_event_id ev, const struct log_ctx *ctx, const struct log_field *fields, size_t n)
{
	if (ctx != NULL && ctx->qid.n > 0) {
		buf_put_safe(out, ctx->qid, 32, false);
		buf_puts(out, ": ");
	} else if (ctx != NULL && ctx->noqueue) {
		buf_puts(out, "NOQUEUE: ");
	}
	const struct template *t = template_of(ev);
	for (size_t i = 0; i < t->n; i++) {
		const struct piece *p = &t->piece[i];
		if (p->needs != LF_COUNT && find_field(p->needs, fields, n) == NULL)
			continue;
		buf_put(out, p->lit);
		const struct log_field *f = p->field != LF_COUNT ? find_field(p->field, fields, n) : NULL;
		if (f != NULL)
			put_field(out, f);
	}
}

static void
json_pair(struct buf *out, const char *name, struct span value)
{
	buf_puts(out, ",\"");
	buf_puts(out, name);
	buf_puts(out, "\":");
	buf_put_json(out, value, LOG_FIELD_MAX);
}

static void
render_json(struct buf *out, enum log_event_id ev, const struct log_ctx *ctx, const struct log_field *fields, size_t n)
{
	buf_puts(out, "\"event\":\"");
	buf_puts(out, events[ev].name);
	buf_puts(out, "\",\"level\":\"");
	buf_puts(out, level_names[events[ev].level]);
	buf_putc(out, '"');
	if (ctx != NULL && ctx->qid.n > 0)
		json_pair(out, "queue_id", ctx->qid);
	for (size_t i = 0; i < n; i++) {
		if (fields[i].is_num)
			buf_printf(out, ",\"%s\":%lld", field_names[fields[i].id], (long long)fields[i].num);
		else
			json_pair(out, field_names[fields[i].id], fields[i].text);
	}
}

void
log_render(struct buf *out, enum log_format format, enum log_event_id ev, const struct log_ctx *ctx,
    const struct log_field *fields, size_t n)
{
	if (format == LOG_JSON)
		render_json(out, ev, ctx, fields, n);
	else
		render_postfix(out, ev, ctx, fields, n);
}

static void
put_prefix(struct buf *out, enum log_event_id ev, const struct log_ctx *ctx)
{
	const char *tag = ctx != NULL && ctx->tag != NULL ? ctx->tag : lg.tag;
	const char *service = ctx != NULL && ctx->service != NULL ? ctx->service
	    : events[ev].service[0] != '\0'                       ? events[ev].service
	                                                          : lg.service;
	uint64_t now = clock_wall();
	time_t sec = (time_t)(now / USEC_PER_SEC);
	if (sec != lg.stamp_at) {
		struct tm tm;
		if (lg.format == LOG_JSON)
			strftime(lg.stamp, sizeof lg.stamp, "%Y-%m-%dT%H:%M:%S", gmtime_r(&sec, &tm));
		else
			strftime(lg.stamp, sizeof lg.stamp, "%b %e %H:%M:%S", localtime_r(&sec, &tm));
		lg.stamp_at = sec;
		lg.pid = (int)getpid();
	}
	if (lg.format == LOG_JSON) {
		buf_printf(out, "{\"time\":\"%s.%06uZ\",\"host\":\"%s\",\"program\":\"%s/%s\",\"pid\":%d,", lg.stamp,
		    (unsigned)(now % USEC_PER_SEC), lg.host, tag, service, lg.pid);
		return;
	}
	if (lg.target == LOG_TO_SYSLOG)
		buf_printf(out, "<%d>", SYSLOG_MAIL | level_syslog[events[ev].level]);
	buf_puts(out, lg.stamp);
	buf_putc(out, ' ');
	if (lg.target != LOG_TO_SYSLOG) {
		buf_puts(out, lg.host);
		buf_putc(out, ' ');
	}
	buf_puts(out, tag);
	buf_putc(out, '/');
	buf_puts(out, service);
	buf_putc(out, '[');
	buf_put_dec(out, (uint64_t)lg.pid);
	buf_puts(out, "]: ");
}

void
log_event(enum log_event_id ev, const struct log_ctx *ctx, const struct log_field *fields, size_t n)
{
	if (buf_len(&lg.out) > FLUSH_AT)
		log_flush();
	size_t before = buf_len(&lg.out);
	put_prefix(&lg.out, ev, ctx);
	log_render(&lg.out, lg.format, ev, ctx, fields, n);
	buf_puts(&lg.out, lg.format == LOG_JSON ? "}\n" : "\n");
	if (lg.out.over) { /* the target does not take our lines: drop this one, keep the process */
		lg.out.over = false;
		buf_cut(&lg.out, before);
		lg.lost++;
		metric_add(M_log_lost, 1);
	}
	if (lg.target == LOG_TO_STDERR)
		log_flush();
}

static void
log_text(enum log_event_id ev, const struct log_ctx *ctx, const char *fmt, va_list ap)
{
	char text[LOG_FIELD_MAX];
	int n = vsnprintf(text, sizeof text, fmt, ap);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
	struct log_field f = { .id = LF_text, .text = span_of(text, len) };
	log_event(ev, ctx, &f, 1);
}

#define TEXT_FUNCTION(fn, ev)                                  \
	void fn(const struct log_ctx *ctx, const char *fmt, ...) \
	{                                                      \
		va_list ap;                                    \
		va_start(ap, fmt);                             \
		log_text(ev, ctx, fmt, ap);                    \
		va_end(ap);                                    \
	}
TEXT_FUNCTION(log_info, EV_info)
TEXT_FUNCTION(log_warn, EV_warning)
TEXT_FUNCTION(log_error, EV_error)

void
log_fatal(const struct log_ctx *ctx, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_text(EV_fatal, ctx, fmt, ap);
	va_end(ap);
	log_flush();
}

static void
log_bug(const char *file, int line, const char *what)
{
	LOG(panic, NULL, F_STR(path, file), F_NUM(line, line), F_STR(text, what));
	log_flush();
}

void
log_open(enum log_target target, int fd, enum log_format format, const char *tag, const char *service)
{
	log_flush();
	if (lg.fd != STDERR_FILENO && lg.fd != STDOUT_FILENO && lg.fd != fd)
		close(lg.fd);
	lg.target = target;
	lg.fd = target == LOG_TO_STDERR ? STDERR_FILENO : fd;
	lg.format = format;
	lg.stamp_at = 0;
	struct stat st;
	lg.is_pipe = fstat(lg.fd, &st) == 0 && S_ISFIFO(st.st_mode);
	snprintf(lg.tag, sizeof lg.tag, "%s", tag);
	snprintf(lg.service, sizeof lg.service, "%s", service);
	if (gethostname(lg.host, sizeof lg.host) != 0)
		snprintf(lg.host, sizeof lg.host, "localhost");
	lg.host[sizeof lg.host - 1] = '\0';
	lg.host[strcspn(lg.host, ".")] = '\0';
	bug_hook = log_bug;
}

/* How many bytes of s to hand over in one call: whole lines; one line for a datagram. */
static size_t
portion(struct span s)
{
	if (lg.target == LOG_TO_SYSLOG)
		return span_chr(s, '\n') + 1;
	if (!lg.is_pipe || s.n <= PIPE_LINE)
		return s.n;
	size_t last = span_rchr(span_head(s, PIPE_LINE), '\n');
	return last != SIZE_MAX ? last + 1 : span_chr(s, '\n') + 1;
}

void
log_flush(void)
{
	while (buf_len(&lg.out) > 0) {
		struct span s = buf_span(&lg.out);
		size_t n = portion(s);
		ssize_t done = lg.target == LOG_TO_SYSLOG ? send(lg.fd, s.p, n - 1, MSG_NOSIGNAL | MSG_DONTWAIT)
		                                          : write(lg.fd, s.p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN && lg.target != LOG_TO_SYSLOG)
			return; /* a slow reader: keep the lines, log_event drops when the buffer is full */
		if (done < 0) {
			lg.lost++;
			metric_add(M_log_lost, 1);
		}
		buf_consume(&lg.out, lg.target == LOG_TO_SYSLOG || done < 0 ? n : (size_t)done);
	}
}

uint64_t
log_lost(void)
{
	return lg.lost;
}

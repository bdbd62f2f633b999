/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/settings.h"

#include "base/clock.h"
#include "queue/inspect_own.h"

#define SECONDS(n) ((uint64_t)(n) * USEC_PER_SEC)

void
settings_defaults(struct queue_settings *out)
{
	*out = (struct queue_settings){
		.minimal_backoff = SECONDS(300),
		.maximal_backoff = SECONDS(4000),
		.lifetime = SECONDS(5 * 86400),
		.bounce_lifetime = SECONDS(5 * 86400),
		.active_limit = 20000,
		.bounce_size_limit = 50000,
		.defer_transports = "",
		.filter_nexthop = "",
		.best_mx_transport = "",
		.myhostname = "localhost",
		.myorigin = "localhost",
		.mail_name = "Dogana",
		.double_bounce_sender = "double-bounce",
		.bounce_recipient = "postmaster",
		.bounce2_recipient = "postmaster",
		.delay_recipient = "postmaster",
		.delay_digits = 2,
		.clog_warn = SECONDS(300),
	};
}

void
settings_transport_defaults(struct transport_settings *out)
{
	*out = (struct transport_settings){
		.max_jobs = 100,
		.concurrency_limit = 20,
		.initial_concurrency = 5,
		.recipient_limit = 50,
		.positive = { 1, FEEDBACK_CONSTANT },
		.negative = { 1, FEEDBACK_CONSTANT },
		.failed_cohort_limit = 1,
	};
}

/* Digits with an optional fraction, the whole span. */
static bool
parse_decimal(struct span s, double *out)
{
	size_t dot = span_chr(s, '.');
	uint64_t whole = 0, part = 0;
	struct span before = dot == SIZE_MAX ? s : span_head(s, dot);
	struct span after = dot == SIZE_MAX ? SPAN_EMPTY : span_from(s, dot + 1);
	if (after.n > 9 || (before.n == 0 && after.n == 0))
		return false;
	if (before.n > 0 && !span_u64(before, 1000000, &whole))
		return false;
	if (after.n > 0 && !span_u64(after, 999999999, &part))
		return false;
	double scale = 1;
	for (size_t i = 0; i < after.n; i++)
		scale *= 10;
	*out = (double)whole + (double)part / scale;
	return true;
}

enum rc
feedback_parse(struct span text, struct feedback *out)
{
	text = span_trim(text);
	size_t slash = span_chr(text, '/');
	struct span num = slash == SIZE_MAX ? text : span_trim(span_head(text, slash));
	struct span den = slash == SIZE_MAX ? SPAN_EMPTY : span_trim(span_from(text, slash + 1));
	double n, d;
	if (!parse_decimal(num, &n))
		return RC_PERM;
	*out = (struct feedback){ n, FEEDBACK_CONSTANT };
	if (slash == SIZE_MAX)
		return RC_OK;
	if (span_caseeq_str(den, "concurrency")) {
		out->form = FEEDBACK_CONCURRENCY;
	} else if (span_caseeq_str(den, "sqrt_concurrency")) {
		out->form = FEEDBACK_SQRT;
	} else {
		if (!parse_decimal(den, &d) || d <= 0)
			return RC_PERM;
		out->num = n / d;
	}
	return RC_OK;
}

static double
square_root(double v) /* v >= 1 and small: no need for libm */
{
	double r = v;
	for (int i = 0; i < 24; i++)
		r = (r + v / r) / 2;
	return r;
}

double
feedback_value(const struct feedback *f, double window)
{
	if (window < 1)
		window = 1;
	switch (f->form) {
	case FEEDBACK_CONSTANT: return f->num;
	case FEEDBACK_CONCURRENCY: return f->num / window;
	case FEEDBACK_SQRT: return f->num / square_root(window);
	}
	return f->num;
}

static unsigned
notice_classes(const char *list)
{
	unsigned bits = 0;
	struct span rest = span_str(list), word;
	while (span_word(&rest, ", \t\r\n", &word)) {
		if (span_caseeq_str(word, "bounce"))
			bits |= NOTICE_BOUNCE;
		else if (span_caseeq_str(word, "2bounce"))
			bits |= NOTICE_2BOUNCE;
		else if (span_caseeq_str(word, "delay"))
			bits |= NOTICE_DELAY;
	}
	return bits;
}

enum rc
settings_read(struct queue_settings *out, const struct conf *c, struct err *e)
{
	const struct params *p = conf_params(c);
	*out = (struct queue_settings){
		.minimal_backoff = p->p_minimal_backoff_time,
		.maximal_backoff = p->p_maximal_backoff_time,
		.lifetime = p->p_maximal_queue_lifetime,
		.bounce_lifetime = p->p_bounce_queue_lifetime,
		.delay_warning = p->p_delay_warning_time,
		.active_limit = (uint32_t)p->p_qmgr_message_active_limit,
		.soft_bounce = p->p_soft_bounce,
		.bounce_size_limit = (uint64_t)p->p_bounce_size_limit,
		.notices = notice_classes(p->p_notify_classes),
		.defer_transports = p->p_defer_transports,
		.filter_nexthop = p->p_default_filter_nexthop,
		.best_mx_transport = p->p_best_mx_transport,
		.myhostname = p->p_myhostname,
		.myorigin = p->p_myorigin,
		.mail_name = p->p_mail_name,
		.double_bounce_sender = p->p_double_bounce_sender,
		.bounce_recipient = p->p_bounce_notice_recipient,
		.bounce2_recipient = p->p_2bounce_notice_recipient,
		.delay_recipient = p->p_delay_notice_recipient,
		.threaded_bounces = p->p_enable_threaded_bounces,
		.filtered = inspect_classes(c),
		.delay_digits = (unsigned)p->p_delay_logging_resolution_limit,
		.clog_warn = p->p_qmgr_clog_warn_time,
	};
	if (out->minimal_backoff == 0 || out->maximal_backoff < out->minimal_backoff)
		return err_set(e, RC_PERM, "minimal_backoff_time must be over 0 and not over maximal_backoff_time");
	if (out->active_limit == 0)
		return err_set(e, RC_PERM, "qmgr_message_active_limit must be over 0");
	return RC_OK;
}

static enum rc
read_feedback(struct feedback *out, const struct conf *c, const char *name, const char *suffix, struct err *e)
{
	const char *text = conf_transport_str(c, name, suffix);
	if (text == NULL || *text == '\0')
		return RC_OK; /* keeps the default */
	if (feedback_parse(span_str(text), out) != RC_OK)
		return err_set(e, RC_PERM, "%s_%s: bad value \"%s\"", name, suffix, text);
	return RC_OK;
}

static unsigned
count_of(int64_t v)
{
	return v < 0 ? 0 : v > 1000000 ? 1000000 : (unsigned)v;
}

enum rc
settings_transport(struct transport_settings *out, const struct conf *c, const char *name, int maxproc, struct err *e)
{
	settings_transport_defaults(out);
	out->max_jobs = maxproc < 0 ? count_of(conf_params(c)->p_default_process_limit) : (unsigned)maxproc;
	out->concurrency_limit = count_of(conf_transport_int(c, name, "destination_concurrency_limit"));
	out->initial_concurrency = count_of(conf_transport_int(c, name, "initial_destination_concurrency"));
	out->recipient_limit = count_of(conf_transport_int(c, name, "destination_recipient_limit"));
	out->destination_rate_delay = conf_transport_time(c, name, "destination_rate_delay");
	out->transport_rate_delay = conf_transport_time(c, name, "transport_rate_delay");
	if (out->initial_concurrency == 0)
		out->initial_concurrency = 1;
	if (out->concurrency_limit > 0 && out->initial_concurrency > out->concurrency_limit)
		out->initial_concurrency = out->concurrency_limit;
	if (read_feedback(&out->positive, c, name, "destination_concurrency_positive_feedback", e) != RC_OK ||
	    read_feedback(&out->negative, c, name, "destination_concurrency_negative_feedback", e) != RC_OK)
		return RC_PERM;
	struct feedback limit = { out->failed_cohort_limit, FEEDBACK_CONSTANT };
	if (read_feedback(&limit, c, name, "destination_concurrency_failed_cohort_limit", e) != RC_OK)
		return RC_PERM;
	out->failed_cohort_limit = limit.num;
	return RC_OK;
}

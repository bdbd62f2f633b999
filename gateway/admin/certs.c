/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/certs.h"

#include "base/clock.h"
#include "base/log.h"
#include "tls/chain.h"
#include "tls/key.h"

static const uint64_t DAY = 86400 * USEC_PER_SEC, LOOK_USEC = 60 * USEC_PER_SEC;

/* One that several services show, or both as a server and as a client, is one. */
struct seen {
	unsigned char digests[256][EVP_MAX_MD_SIZE];
	unsigned n;
};

static bool
is_new(struct seen *s, const X509 *cert)
{
	unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
	(void)X509_digest(cert, EVP_sha256(), digest, NULL);
	for (unsigned i = 0; i < s->n; i++)
		if (memcmp(s->digests[i], digest, sizeof digest) == 0)
			return false;
	if (s->n < NELEMS(s->digests))
		memcpy(s->digests[s->n++], digest, sizeof digest);
	return true;
}

struct facts {
	struct span file;            /* the first of several */
	char names[400], until[40], subject[200];
	uint64_t not_after;
	int64_t days_left;           /* rounded down; below 0: it has ended */
};

static void
put_into(char *out, size_t size, struct buf *b)
{
	snprintf(out, size, "%.*s", (int)(size - 1), buf_cstr(b));
	buf_reset(b);
}

static void
learn(const char *files, const X509 *cert, struct facts *f)
{
	struct buf b;
	buf_init(&b, 8192);
	f->file = span_head(span_str(files), strcspn(files, "\n"));
	f->not_after = cert_not_after(cert);
	cert_names_put(&b, cert);
	put_into(f->names, sizeof f->names, &b);
	cert_time_put(&b, f->not_after);
	put_into(f->until, sizeof f->until, &b);
	char subject[400] = "";
	(void)X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof subject);
	buf_put_safe(&b, span_str(subject), sizeof f->subject - 1, false);
	put_into(f->subject, sizeof f->subject, &b);
	buf_fini(&b);
	uint64_t now = clock_wall();
	f->days_left = f->not_after >= now ? (int64_t)((f->not_after - now) / DAY) : -1 - (int64_t)((now - f->not_after) / DAY);
}

struct output {
	struct buf *out;
	struct seen seen;
	bool is_json;
};

static void
put_text(struct buf *out, const struct facts *f)
{
	if (f->days_left < TLS_CERT_WARN_DAYS)
		buf_puts(out, "WARNING: ");
	buf_puts(out, "certificate ");
	buf_put_safe(out, f->file, 1000, true);
	buf_printf(out, ": %s; %s %s", f->names, f->days_left < 0 ? "has expired on" : "until", f->until);
	if (f->days_left >= 0)
		buf_printf(out, " (%lld day%s left)", (long long)f->days_left, f->days_left == 1 ? "" : "s");
	buf_putc(out, '\n');
}

static void
put_json(struct buf *out, const struct facts *f)
{
	buf_puts(out, "{\"file\":");
	buf_put_json(out, f->file, 4096);
	buf_puts(out, ",\"subject\":");
	buf_put_json(out, span_str(f->subject), sizeof f->subject);
	buf_puts(out, ",\"names\":");
	buf_put_json(out, span_str(f->names), sizeof f->names);
	buf_printf(out, ",\"not_after\":%llu,\"days_left\":%lld,\"warning\":%s}", (unsigned long long)(f->not_after / USEC_PER_SEC),
	    (long long)f->days_left, f->days_left < TLS_CERT_WARN_DAYS ? "true" : "false");
}

static void
show(void *arg, const char *files, const X509 *cert)
{
	struct output *o = arg;
	struct facts f = { 0 };
	if (!is_new(&o->seen, cert))
		return;
	learn(files, cert, &f);
	if (o->is_json && o->seen.n > 1)
		buf_putc(o->out, ',');
	if (o->is_json)
		put_json(o->out, &f);
	else
		put_text(o->out, &f);
}

void
certs_text(const struct conf *c, struct buf *out)
{
	static struct output o; /* too large for a stack */
	o = (struct output){ .out = out };
	tls_certs_each(c, show, &o);
}

void
certs_json(const struct conf *c, struct buf *out)
{
	static struct output o;
	o = (struct output){ .out = out, .is_json = true };
	tls_certs_each(c, show, &o);
}

static void
tell(void *arg, const char *files, const X509 *cert)
{
	struct facts f = { 0 };
	if (!is_new(arg, cert))
		return;
	learn(files, cert, &f);
	if (f.days_left < 0)
		LOG(cert_expired, NULL, F_SPAN(path, f.file), F_STR(name, f.names), F_STR(text, f.until));
	else if (f.days_left < TLS_CERT_WARN_DAYS)
		LOG(cert_expires, NULL, F_SPAN(path, f.file), F_STR(name, f.names), F_STR(text, f.until), F_NUM(count, f.days_left));
}

static void
on_timer(struct timer *t)
{
	struct certs_watch *w = container_of(t, struct certs_watch, timer);
	uint64_t now = clock_wall();
	if (*w->conf != NULL && (w->told == 0 || now >= w->told + DAY || now < w->told)) {
		static struct seen seen;
		seen = (struct seen){ 0 };
		w->told = now;
		tls_certs_each(*w->conf, tell, &seen);
	}
	timer_set(&w->timer, LOOK_USEC);
}

void
certs_watch_start(struct certs_watch *w, struct conf *const *conf)
{
	w->conf = conf;
	w->told = 0;
	timer_init(&w->timer, on_timer);
	timer_set(&w->timer, 0);
}

void
certs_watch_stop(struct certs_watch *w)
{
	timer_clear(&w->timer);
}

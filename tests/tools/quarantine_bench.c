/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quarantine_bench.c - what storing costs and how fast a million held messages are searched.
 *
 *	quarantine_bench DIR [ROWS [PUTS]]       makes DIR, prints a table of "name value unit" lines, leaves DIR for others to remove
 *
 * Storing: PUTS messages of 10 kB from a file, 200 at a time, through the store as the queue uses it. Searching: ROWS rows are written into the
 * index in large transactions (without files; every second one has an attachment), then the store is asked, cold and warm.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "msg/words.h"
#include "quarantine/attachments.h"
#include "quarantine/rows.h"
#include "quarantine/vfs.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTENT = 10240, OUTSTANDING = 200, SENDERS = 50000, RCPTS = 20000, CLIENTS = 30000, BATCH = 5000 };

static const char *const words[] = { "invoice", "order", "meeting", "report", "newsletter", "offer", "delivery", "payment", "account", "update", "security",
	"urgent", "hello", "project", "team", "weekly", "ticket", "status", "reminder", "photo" };

static uint64_t seed = 88172645463325252u;
static uint64_t
rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* Few send much, many send little. */
static uint64_t
skewed(uint64_t n)
{
	uint64_t a = rnd(n), b = rnd(n), c = rnd(n);
	return a < b ? (a < c ? a : c) : (b < c ? b : c);
}

struct sample {
	char sender[64], rcpt[64], client[32], subject[128], from[96], file[64];
	struct held_part part;
	struct held held;
	struct env_rcpt r;
	struct buf held_bytes;
	struct envelope env;
};

static void
sample_make(struct sample *s, uint64_t usec, bool has_file)
{
	unsigned a = (unsigned)skewed(SENDERS), b = (unsigned)rnd(RCPTS), c = (unsigned)skewed(CLIENTS);
	snprintf(s->sender, sizeof s->sender, "user%u@domain%u.example", a, a % 5000);
	snprintf(s->rcpt, sizeof s->rcpt, "person%u@example%u.com", b, b % 20);
	snprintf(s->client, sizeof s->client, "10.%u.%u.%u", c / 65536, c / 256 % 256, c % 256);
	snprintf(s->subject, sizeof s->subject, "%s %s %s %u", words[rnd(NELEMS(words))], words[rnd(NELEMS(words))], words[rnd(NELEMS(words))], (unsigned)rnd(1000000));
	snprintf(s->from, sizeof s->from, "\"User Number %u\" <%s>", a, s->sender);
	uint64_t k = rnd(100);
	s->held = (struct held){ .class = k < 60 ? HELD_MILTER : k < 90 ? HELD_VIRUS : k < 99 ? HELD_ATTACHMENT : HELD_POLICY, .reason = SPAN("Eicar-Test-Signature"),
		.filter = SPAN("virus"), .client_addr = span_str(s->client), .client_name = SPAN("unknown"), .helo = SPAN("mail.domain.example"),
		.subject = span_str(s->subject), .from = span_str(s->from), .message_id = SPAN("<1234.5678@domain.example>"),
		.trace = SPAN("smtpd_recipient_restrictions: permit\nmilter virus: quarantine") };
	if (has_file) {
		static const char *const ends[] = { "pdf", "docx", "zip", "xlsx", "html", "exe" };
		snprintf(s->file, sizeof s->file, "%s-%06u.%s", words[rnd(NELEMS(words))], (unsigned)rnd(1000000), ends[rnd(NELEMS(ends))]);
		s->part = (struct held_part){ .type = SPAN("application/octet-stream"), .name = span_str(s->file), .at = 2000, .length = 8000, .how = DECODE_BASE64 };
		s->held.parts = &s->part;
		s->held.nparts = 1;
	}
	buf_reset(&s->held_bytes);
	held_put(&s->held_bytes, &s->held);
	s->r = (struct env_rcpt){ .addr = span_str(s->rcpt) };
	s->env = (struct envelope){ .arrival = usec, .sender = span_str(s->sender), .held = buf_span(&s->held_bytes), .nrcpt = 1, .rcpt = &s->r };
}

static double
cpu_usec(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static long
rss_kib(void)
{
	long pages = 0, skip = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f != NULL && fscanf(f, "%ld %ld", &skip, &pages) != 2)
		pages = 0;
	if (f != NULL)
		fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static struct quar *q;
static struct op_owner ops;

/* ---- storing ---- */

static struct putter {
	struct quar_req r;
	uint64_t began;
} putters[OUTSTANDING];
static unsigned left, under_way, failures;
static int content_fd;
static bool put_files;
static uint64_t next_usec = UINT64_C(1750000000000000), waits[4000000], nwaits;
static struct sample one;

static void
put_next(struct putter *p)
{
	if (left == 0) {
		if (under_way == 0)
			loop_stop();
		return;
	}
	left--;
	under_way++;
	next_usec += 500;
	sample_make(&one, next_usec, put_files);
	struct quar_new n = { .id = { next_usec, 5 }, .env = &one.env, .fd = content_fd, .offset = rnd(64) * 1000, .length = CONTENT };
	p->began = clock_mono();
	quar_put(q, &p->r, &n);
}

static void
on_put(struct op *op)
{
	struct putter *p = container_of(op, struct putter, r.op);
	under_way--;
	failures += op->rc != RC_OK;
	if (op->rc != RC_OK && failures == 1)
		fprintf(stderr, "put: %s\n", p->r.why.why);
	if (nwaits < NELEMS(waits))
		waits[nwaits++] = clock_mono() - p->began;
	put_next(p);
}

static int
by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static void
bench_puts(unsigned n, unsigned at_once, const char *what)
{
	left = n;
	nwaits = failures = 0;
	double cpu = cpu_usec();
	uint64_t t = clock_mono();
	for (unsigned i = 0; i < at_once; i++) {
		quar_req_init(&putters[i].r, &ops, on_put);
		put_next(&putters[i]);
	}
	loop_run();
	double took = (double)(clock_mono() - t);
	qsort(waits, nwaits, sizeof *waits, by_size);
	printf("put_%s_cpu %.1f usec\nput_%s_rate %.0f /s\nput_%s_p50 %.2f ms\nput_%s_p99 %.2f ms\n", what, (cpu_usec() - cpu) / n, what, n / took * 1e6, what,
	    (double)waits[nwaits / 2] / 1e3, what, (double)waits[nwaits * 99 / 100] / 1e3);
	if (failures > 0)
		printf("put_%s_failures %u messages\n", what, failures);
	fflush(stdout);
	for (unsigned i = 0; i < at_once; i++)
		quar_req_fini(&putters[i].r);
}

/* ---- filling ---- */

static char middle_file[64];

/* Nothing like a sum, but as evenly spread. */
static void
sum_of(uint64_t i, unsigned char out[32])
{
	for (unsigned k = 0; k < 32; k++) {
		i = i * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		out[k] = (unsigned char)(i >> 56);
	}
}

static void
hex_of(uint64_t i, char out[65])
{
	unsigned char sum[32];
	sum_of(i, sum);
	for (unsigned k = 0; k < 32; k++)
		snprintf(out + 2 * k, 3, "%02x", sum[k]);
}

static bool
fill(const char *dir, uint64_t rows)
{
	struct qdb d;
	struct err e = { .why = "" };
	char path[VFS_PATH_MAX];
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t t = clock_mono(), usec = UINT64_C(1700000000000000);
	vfs_add(fd, "index.db", path);
	enum rc rc = qdb_open(&d, path, true, &e);
	for (uint64_t i = 0; i < rows && rc == RC_OK; i++) {
		if (i % BATCH == 0 && (rc = qdb_begin(&d, &e)) != RC_OK)
			break;
		usec += 10000000 + rnd(5000000);
		bool has_file = i % 2 != 0;
		sample_make(&one, usec, has_file);
		struct qrec_common c = { .id = { usec, 5 }, .length = CONTENT };
		struct arena a;
		struct qview v;
		uint64_t n;
		arena_init(&a, 1 << 20);
		if (!qview_init(&v, &c, &one.env, NULL, 0, &a))
			rc = RC_TEMP;
		if (rc == RC_OK && (rc = rows_find(&d, &c.id, &n, &e)) == RC_NONE)
			rc = rows_insert(&d, n, &v, NULL, CONTENT + 600, &e);
		if (rc == RC_OK && has_file) {
			static struct attachments files;
			attachments_of(&files, &one.part, 1);
			files.is_owed[0] = false;
			files.part[0].is_summed = true;
			files.part[0].size = 6000;
			sum_of(i < 1000 ? 0 : i, files.part[0].sha256);
			rc = attachments_insert(&d, n, &files, &e);
			if (i == rows / 2 + 1)
				snprintf(middle_file, sizeof middle_file, "%s", one.file);
		}
		arena_fini(&a);
		if (rc == RC_OK && (i % BATCH == BATCH - 1 || i + 1 == rows)) {
			bool did;
			rc = qdb_commit(&d, &e);
			if (rc == RC_OK)
				rc = qdb_checkpoint(&d, &did, &e);
		}
	}
	struct stat st;
	(void)fstatat(fd, "index.db", &st, 0);
	qdb_close(&d);
	vfs_remove(fd);
	close(fd);
	if (rc != RC_OK)
		fprintf(stderr, "fill: %s\n", e.why);
	printf("rows %llu messages\nfill_seconds %.1f s\nindex_bytes %.0f bytes/row\n", (unsigned long long)rows, (double)(clock_mono() - t) / 1e6,
	    (double)st.st_size / (double)rows);
	fflush(stdout);
	return rc == RC_OK;
}

/* ---- searching ---- */

static struct quar_req req;
static bool answered;

static void
on_answer(struct op *op)
{
	(void)op;
	answered = true;
	loop_stop();
}

static void
bench_list(const char *name, const struct quar_filter *filter)
{
	struct quar_filter f = *filter;
	double first = 0, best = 1e9;
	size_t rows = 0;
	f.limit = f.limit != 0 ? f.limit : 50;
	bool more = false;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t t = clock_mono();
		quar_list(q, &req, &f);
		loop_run();
		double took = (double)(clock_mono() - t) / 1e3;
		if (req.op.rc != RC_OK)
			fprintf(stderr, "%s: %s\n", name, req.why.why);
		first = i == 0 ? took : first;
		best = took < best ? took : best;
		rows = req.nrows;
		more = req.more;
	}
	printf("list_%s %.2f ms (first %.2f ms, %zu rows%s)\n", name, best, first, rows, more ? ", more" : "");
	fflush(stdout);
}

#define LIST(name, ...) bench_list(name, &(struct quar_filter){ __VA_ARGS__ })

int
main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "quarantine_bench DIR [ROWS [PUTS]]\n");
		return 2;
	}
	uint64_t rows = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
	unsigned puts_ = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 20000;
	struct err e;
	char path[400];
	struct quar_settings set = { .dir = path, .allow_limit = 100 };
	mkdir(argv[1], 0700);
	snprintf(path, sizeof path, "%s/content", argv[1]);
	content_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (unsigned i = 0; i < 80000 / 8; i++) {
		char line[16];
		snprintf(line, sizeof line, "%06u\r\n", i % 1000000);
		if (write(content_fd, line, 8) != 8)
			return 1;
	}
	buf_init(&one.held_bytes, HELD_BYTES_MAX);
	loop_init();
	op_owner_init(&ops);
	snprintf(path, sizeof path, "%s/q", argv[1]);
	if (quar_open(&q, &set, NULL, NULL, &e) != RC_OK) {
		fprintf(stderr, "%s\n", e.why);
		return 1;
	}
	quar_start(q);
	bench_puts(puts_, OUTSTANDING, "empty");
	quar_close(&q);
	if (rows > 0 && !fill(path, rows))
		return 1;
	if (quar_open(&q, &set, NULL, NULL, &e) != RC_OK)
		return 1;
	quar_start(q);
	quar_req_init(&req, &ops, on_answer);
	uint64_t t = clock_mono();
	quar_stats(q, &req);
	loop_run();
	printf("open_and_stats %.1f ms\n", (double)(clock_mono() - t) / 1e3);
	long before = rss_kib();
	uint64_t middle = UINT64_C(1700000000000000) + rows / 2 * UINT64_C(12500000);
	LIST("newest", .limit = 50);
	LIST("middle", .until = middle);
	LIST("since_until", .since = middle, .until = middle + UINT64_C(86400000000));
	LIST("sender_busy", .sender = SPAN("user1@domain1.example"));
	LIST("sender_rare", .sender = SPAN("user49000@domain4000.example"));
	LIST("sender_none", .sender = SPAN("nobody@nowhere.example"));
	LIST("sender_domain", .sender = SPAN("@domain7.example"));
	LIST("recipient", .recipient = SPAN("person77@example17.com"));
	LIST("recipient_domain", .recipient = SPAN("@example3.com"));
	LIST("class_common", .class = HELD_MILTER);
	LIST("class_rare", .class = HELD_POLICY);
	LIST("class_none", .class = HELD_UNSCANNED);
	LIST("client", .client = SPAN("10.0.1.7"));
	LIST("state_held", .state = QUAR_HELD);
	LIST("state_released", .state = QUAR_RELEASED);
	LIST("sender_and_recipient", .sender = SPAN("user1@domain1.example"), .recipient = SPAN("person77@example17.com"));
	LIST("sender_and_class", .sender = SPAN("user1@domain1.example"), .class = HELD_POLICY);
	LIST("client_and_class", .client = SPAN("10.0.1.7"), .class = HELD_VIRUS);
	LIST("subject_common", .subject = SPAN("invoice"));
	LIST("subject_two", .subject = SPAN("invoice urgent"));
	LIST("subject_rare", .subject = SPAN("123456"));
	LIST("subject_prefix", .subject = SPAN("inv*"));
	LIST("subject_prefix_digit", .subject = SPAN("123*"));
	LIST("subject_none", .subject = SPAN("zebra"));
	LIST("text_two", .text = SPAN("invoice user1"));
	LIST("subject_and_class_rare", .subject = SPAN("invoice"), .class = HELD_POLICY);
	char hex[65];
	hex_of(rows / 2 + 1, hex);
	LIST("attachment_sum", .attachment = span_str(hex));
	hex_of(0, hex);
	LIST("attachment_sum_many", .attachment = span_str(hex));
	LIST("attachment_sum_none", .attachment = SPAN("0000000000000000000000000000000000000000000000000000000000000000"));
	LIST("attachment_name", .attachment = span_str(middle_file));
	LIST("attachment_part_common", .attachment = SPAN("invoice"));
	LIST("attachment_part_end", .attachment = SPAN(".exe"));
	LIST("attachment_part_rare", .attachment = SPAN("ice-12345"));
	LIST("attachment_part_none", .attachment = SPAN("invoice.xlsx"));
	LIST("subject_and_attachment", .attachment = SPAN("invoice"), .subject = SPAN("invoice"));
	LIST("page_of_1000", .limit = 1000);
	printf("rss_before_lists %ld KiB\nrss_after_lists %ld KiB\n", before, rss_kib());
	quar_req_fini(&req);
	bench_puts(puts_, OUTSTANDING, "at_million");
	bench_puts(puts_ / 20 + 1, 1, "single");
	put_files = true;
	bench_puts(puts_, OUTSTANDING, "with_file_at_million");
	printf("rss_end %ld KiB\n", rss_kib());
	quar_close(&q);
	loop_fini();
	return 0;
}

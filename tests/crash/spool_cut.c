/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spool_cut.c - a journal is cut at every byte, and every bit of every byte is turned over; so is a message
 * file. What is intact must be recovered as it was, what is damaged must be noticed and never be
 * delivered.
 */
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "spool/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEGMENT = 64 << 10, MESSAGES = 7, RECORDS = 13 };

static struct record {
	enum rec_type type;
	unsigned msg;
	uint32_t version, batch, number;
	size_t off, len;
} plan[RECORDS] = {
	{ REC_ACCEPT, 0, 0, 1, 0, 0, 0 },
	{ REC_ACCEPT, 1, 0, 1, 1, 0, 0 },
	{ REC_STATE, 0, 1, 1, 2, 0, 0 },
	{ REC_ACCEPT, 2, 0, 2, 0, 0, 0 },
	{ REC_DONE, 1, UINT32_MAX, 2, 1, 0, 0 },
	{ REC_STATE, 0, 2, 2, 2, 0, 0 },
	{ REC_ACCEPT, 3, 0, 2, 3, 0, 0 },
	{ REC_ABORT, 4, UINT32_MAX, 2, 4, 0, 0 },
	{ REC_ACCEPT, 5, 0, 3, 0, 0, 0 },
	{ REC_STATE, 5, 1, 3, 1, 0, 0 },
	{ REC_DONE, 3, UINT32_MAX, 3, 2, 0, 0 },
	{ REC_ACCEPT, 6, 0, 3, 3, 0, 0 },
	{ REC_STATE, 2, 1, 3, 4, 0, 0 },
};

static struct seen {
	bool here;
	uint32_t state;
	struct spool_msg m;
} seen[MESSAGES];

static char dir[200];
static unsigned char image[SEGMENT];
static uint64_t passed, failed;
static struct spool *spool;

static struct spool_id
id_of(unsigned i)
{
	return (struct spool_id){ .usec = UINT64_C(1700000000000000) + i, .serial = 5 };
}

static void
text_of(struct buf *b, const char *what, unsigned i, uint32_t version)
{
	buf_reset(b);
	buf_printf(b, "%s %u:%u ", what, i, version);
	for (unsigned k = 0; k < 20 + 13 * i; k++)
		buf_putc(b, (unsigned char)('a' + (k + i) % 26));
}

static struct spool_msg *
recovered(void *owner, const struct spool_id *id, struct span envelope, struct span state)
{
	(void)owner;
	struct buf want;
	buf_init(&want, 4096);
	for (unsigned i = 0; i < MESSAGES; i++) {
		if (id_of(i).usec != id->usec || id->serial != 5)
			continue;
		text_of(&want, "envelope", i, 0);
		BUG_ON(seen[i].here || !span_eq(envelope, buf_span(&want)));
		seen[i] = (struct seen){ .here = true };
		for (uint32_t v = 1; state.n > 0 && v < 4; v++) {
			text_of(&want, "state", i, v);
			if (span_eq(state, buf_span(&want)))
				seen[i].state = v;
		}
		BUG_ON(state.n > 0 && seen[i].state == 0);
		buf_fini(&want);
		return &seen[i].m;
	}
	BUG("an id that was never made");
}

static void
describe(void *owner, struct spool_msg *m, struct buf *envelope, struct buf *state)
{
	(void)owner, (void)m, (void)envelope, (void)state;
}

static void
path_of(char out[300], const char *name)
{
	snprintf(out, 300, "%s/%s", dir, name);
}

static void
write_whole(const char *name, const void *p, size_t n)
{
	char path[300];
	path_of(path, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	BUG_ON(fd < 0 || write(fd, p, n) != (ssize_t)n);
	close(fd);
}

static void
empty(const char *sub)
{
	char path[300], file[600];
	path_of(path, sub);
	DIR *d = opendir(path);
	for (struct dirent *de; d != NULL && (de = readdir(d)) != NULL;) {
		snprintf(file, sizeof file, "%s/%s", path, de->d_name);
		if (de->d_name[0] != '.' && unlink(file) != 0)
			rmdir(file);
	}
	if (d != NULL)
		closedir(d);
}

/* Opens and reads, starts nothing. */
static void
recover(struct spool_report *report)
{
	static const struct spool_ops ops = { .recovered = recovered, .describe = describe };
	struct spool_settings set = { .dir = dir, .segment_bytes = SEGMENT, .segments_min = 2, .segments_max = 4 };
	struct err e = { 0 };
	memset(seen, 0, sizeof seen);
	*report = (struct spool_report){ 0 };
	if (spool_open(&spool, &set, &ops, NULL, &e) != RC_OK || recover_run(spool, report, &e) != RC_OK) {
		printf("recovery fails: %s\n", e.why);
		exit(1);
	}
}

static void
check(bool good, const char *what, size_t at, unsigned i)
{
	if (good) {
		passed++;
		return;
	}
	if (failed++ < 20)
		printf("%s at byte %zu: message %u: here %d, state %u\n", what, at, i, seen[i].here, seen[i].state);
}

static void
build(void)
{
	struct seg_head h = { .generation = 9, .size = SEGMENT, .nonce = 0x12345678 };
	struct buf head, body;
	buf_init(&head, 4096);
	buf_init(&body, 4096);
	seg_head_put(image, &h);
	size_t at = SEG_HEADER;
	for (unsigned k = 0; k < RECORDS; k++) {
		struct record *r = &plan[k];
		struct spool_id id = id_of(r->msg);
		if (r->number == 0 && at % SEG_PAGE != 0)
			at += SEG_PAGE - at % SEG_PAGE;
		buf_reset(&head);
		buf_reset(&body);
		if (r->type == REC_ACCEPT) {
			text_of(&head, "envelope", r->msg, 0);
			text_of(&body, "content", r->msg, 0);
		} else if (r->type == REC_STATE) {
			text_of(&body, "state", r->msg, r->version);
		}
		r->off = at;
		r->len = rec_size(buf_len(&head), buf_len(&body));
		rec_put(image + at, r->type, &id, r->version, buf_span(&head), buf_span(&body));
		rec_place(image + at, seg_stamp(&h), r->batch, r->number);
		rec_sum(image + at);
		at += r->len;
	}
	/* behind the tail: a page of an older use of the segment */
	struct spool_id old = id_of(4);
	h.generation = 3, h.nonce = 77;
	rec_put(image + at + 4096, REC_ACCEPT, &old, 0, SPAN("old"), SPAN("older"));
	rec_place(image + at + 4096, seg_stamp(&h), 0, 0);
	rec_sum(image + at + 4096);
	buf_fini(&head);
	buf_fini(&body);
}

/* What must be known when the records of mask (a bit each) are readable. Those of the last batch behind a
 * hole are not believed when they end or change something: the write may have been cut. */
static void
judge(uint32_t mask, const char *what, size_t at)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		bool accepted = false, done = false;
		uint32_t state = 0, holes = 0;
		for (unsigned k = 0; k < RECORDS; k++) {
			const struct record *r = &plan[k];
			bool good = (mask >> k & 1) != 0;
			holes += !good && r->batch == 3;
			if (!good || r->msg != i)
				continue;
			bool sure = r->batch != 3 || holes == 0;
			switch (r->type) {
			case REC_ACCEPT:
				accepted = true;
				break;
			case REC_STATE:
				if (sure)
					state = r->version;
				break;
			case REC_DONE:
			case REC_ABORT:
				done |= sure;
				break;
			case REC_NONE:
			case REC_TYPES:
				break;
			}
		}
		check(seen[i].here == (accepted && !done), what, at, i);
		if (seen[i].here)
			check(seen[i].state == state, what, at, i);
	}
}

static void
contents(const char *what, size_t at)
{
	struct buf got, want;
	buf_init(&got, 4096);
	buf_init(&want, 4096);
	for (unsigned i = 0; i < MESSAGES; i++) {
		struct err e;
		if (!seen[i].here)
			continue;
		buf_reset(&got);
		text_of(&want, "content", i, 0);
		enum rc rc = spool_read(spool, &seen[i].m, 0, 4096, &got, &e);
		check(rc == RC_OK ? span_eq(buf_span(&got), buf_span(&want)) : rc == RC_PERM && seen[i].m.segment == 0, what, at, i);
	}
	buf_fini(&got);
	buf_fini(&want);
}

static void
cuts(void)
{
	struct spool_report report;
	size_t end = plan[RECORDS - 1].off + plan[RECORDS - 1].len;
	for (size_t at = 0; at <= end; at += at > SEG_HEADER && image[at - 1] == 0 && image[at] == 0 ? 41 : 1) {
		uint32_t mask = 0;
		for (unsigned k = 0; k < RECORDS; k++)
			if (plan[k].off + plan[k].len <= at)
				mask |= 1u << k;
		write_whole("journal/00000001.seg", image, at);
		recover(&report);
		judge(mask, "cut", at);
		contents("cut", at);
		check(report.damaged_places > 0 || at == 0 || report.set_aside > 0, "cut is not reported", at, 0);
		spool_close(&spool);
	}
}

static void
flips(void)
{
	struct spool_report report;
	size_t end = plan[RECORDS - 1].off + plan[RECORDS - 1].len;
	for (size_t at = 0; at < end; at += at > SEG_HEADER && image[at] == 0 && image[at + 1] == 0 ? 23 : 1) {
		uint32_t mask = (1u << RECORDS) - 1;
		bool matters = false;
		image[at] ^= (unsigned char)(1u << at % 8);
		for (unsigned k = 0; k < RECORDS; k++) {
			struct rec rec;
			if (at < plan[k].off || at >= plan[k].off + plan[k].len)
				continue;
			if (rec_get(span_of(image + plan[k].off, plan[k].len), UINT64_C(0x1234567800000009), &rec) == RC_OK)
				continue; /* padding */
			mask &= ~(1u << k);
			matters = true;
		}
		write_whole("journal/00000001.seg", image, sizeof image);
		recover(&report);
		judge(mask, "flip", at);
		contents("flip", at);
		if (matters)
			check(report.damaged_places > 0 || report.torn_bytes > 0, "flip is not reported", at, 0);
		image[at] ^= (unsigned char)(1u << at % 8);
		spool_close(&spool);
	}
	empty("corrupt");
}

/* ---- a message file ---- */

static void
text_name(char out[300], const char *sub, unsigned i)
{
	char id[SPOOL_ID_TEXT];
	struct spool_id x = id_of(i);
	spool_id_text(&x, id);
	snprintf(out, 300, "%s/%s", sub, id);
}

static size_t
build_file(unsigned char *p, unsigned i)
{
	struct buf envelope, content, state;
	buf_init(&envelope, 4096);
	buf_init(&content, 4096);
	buf_init(&state, 4096);
	text_of(&envelope, "envelope", i, 0);
	text_of(&content, "content", i, 0);
	struct file_head h = { .id = id_of(i), .length = buf_len(&content), .crc = crc32c(0, buf_span(&content)) };
	memset(p, 0, 4096);
	file_head_put(p, &h);
	memcpy(p + FILE_HEADER, buf_span(&content).p, buf_len(&content));
	size_t at = (size_t)file_records_at(h.length);
	rec_put(p + at, REC_ACCEPT, &h.id, 0, buf_span(&envelope), SPAN_EMPTY);
	rec_sum(p + at);
	at += rec_size(buf_len(&envelope), 0);
	for (uint32_t v = 1; v < 3; v++) {
		text_of(&state, "state", i, v);
		rec_put(p + at, REC_STATE, &h.id, v, SPAN_EMPTY, buf_span(&state));
		rec_sum(p + at);
		at += rec_size(0, buf_len(&state));
	}
	buf_fini(&envelope);
	buf_fini(&content);
	buf_fini(&state);
	return at;
}

static void
file_case(const char *what, size_t at, bool may_be_away)
{
	struct spool_report report;
	recover(&report);
	/* the other one is never touched */
	check(seen[1].here && seen[1].state == 2, what, at, 1);
	if (may_be_away)
		check(seen[2].here || report.set_aside > 0, what, at, 2);
	else
		check(seen[2].here && seen[2].state == 2, what, at, 2);
	contents(what, at);
	spool_close(&spool);
	empty("corrupt");
}

static void
files(void)
{
	unsigned char p[4096], other[4096];
	char one[300], two[300], path[300];
	struct spool_report report;
	empty("journal");
	text_name(one, "messages", 1);
	text_name(two, "messages", 2);
	size_t no = build_file(other, 1), n = build_file(p, 2);
	write_whole(one, other, no);
	write_whole(two, p, n);
	file_case("whole file", 0, false);
	for (size_t at = 0; at < n; at++) {
		p[at] ^= (unsigned char)(1u << at % 8);
		write_whole(two, p, n);
		file_case("file, flip", at, true);
		p[at] ^= (unsigned char)(1u << at % 8);
		write_whole(two, p, at);
		file_case("file, cut", at, true);
	}
	/* garbage behind the last record is cut off, so that the next state can be added */
	memset(p + n, 0xa5, 100);
	write_whole(two, p, n + 100);
	file_case("file, more behind it", 0, false);
	struct stat st;
	path_of(path, two);
	check(stat(path, &st) == 0 && (size_t)st.st_size == n, "file is not cut", n, 2);
	/* two files that changed places */
	write_whole(one, p, n);
	write_whole(two, other, no);
	recover(&report);
	check(!seen[1].here && !seen[2].here && report.set_aside == 2, "swapped", 0, 1);
	spool_close(&spool);
	empty("corrupt");
	empty("messages");
	/* a directory, a link, a name that is no id */
	write_whole(one, other, no);
	path_of(path, two);
	BUG_ON(mkdir(path, 0700) != 0);
	file_case("directory", 0, true);
	empty("messages");
	write_whole(one, other, no);
	BUG_ON(symlink("/etc/passwd", path) != 0);
	file_case("link", 0, true);
	empty("messages");
	write_whole(one, other, no);
	write_whole("messages/not-an-id", other, no);
	write_whole(two, p, n);
	file_case("another name", 0, false);
	path_of(path, "messages/not-an-id");
	check(access(path, F_OK) != 0, "another name stays", 0, 0);
	empty("messages");
	/* in place of a segment */
	path_of(path, "journal/00000001.seg");
	BUG_ON(mkdir(path, 0700) != 0);
	write_whole(one, other, no);
	write_whole(two, p, n);
	file_case("a directory for a segment", 0, false);
	empty("journal");
}

int
main(void)
{
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "build/tmp";
	snprintf(dir, sizeof dir, "%s/dogana-cut-%ld", base, (long)getpid());
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_POSTFIX, NULL, "spool");
	struct spool_report report;
	build();
	recover(&report); /* makes the directories */
	spool_close(&spool);
	write_whole("journal/00000001.seg", image, sizeof image);
	recover(&report);
	judge((1u << RECORDS) - 1, "whole", 0);
	contents("whole", 0);
	check(report.damaged_places == 0 && report.torn_bytes == 0 && report.records == RECORDS, "whole is reported", 0, 0);
	spool_close(&spool);
	cuts();
	empty("corrupt");
	flips();
	files();
	static const char *const subs[] = { "journal", "messages", "drafts", "corrupt", "" };
	for (size_t i = 0; i < NELEMS(subs); i++) {
		char path[300];
		empty(subs[i]);
		path_of(path, subs[i]);
		rmdir(path);
	}
	printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
	return failed > 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the disk says after a start: the journal once, in order, then the files; then the owner hears
 * of each message that is not done. Changes nothing that a second run would read differently.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "spool/internal.h"
#include "spool/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { WINDOW = 1 << 20 };
enum { GOT_ACCEPT = 1, GOT_STATE = 2, GOT_DONE = 4, GOT_FILE = 8 };

struct found {                   /* what records say about one message */
	struct hnode by_id;
	struct spool_id id;
	uint32_t version, state_len;
	struct segment *seg, *state_seg;
	uint64_t offset, state_at;
	uint32_t head, body;     /* lengths of the ACCEPT */
	uint8_t got;
};

struct suspect {                 /* a STATE or DONE behind a hole of the last batch of a process */
	struct segment *seg;
	uint64_t off;
	struct rec rec;          /* without its spans */
	uint32_t body;
};

struct recovery {
	struct spool *s;
	struct spool_report *report;
	struct htab table;
	struct found *chunk;     /* entries are allocated by the thousand and freed as a whole */
	size_t chunk_at;
	struct list chunks;
	/* the batch being read */
	bool in_batch, holed;
	uint32_t batch, number;
	struct suspect *suspects;
	size_t nsuspects, suspects_cap;
};

enum { CHUNK = 1024 };
struct chunk {
	struct list link;
	struct found entries[CHUNK];
};

/* ---- bytes of a segment, through one moving window ---- */

struct window {
	int fd;
	uint64_t size, at;
	unsigned char *p;
	size_t n, cap;
	bool unread;             /* something could not be read */
};

/* Pages that cannot be read, when tried again one by one, are zeros: the scan sees a hole, and goes on behind it. */
static void
fill(struct window *w)
{
	size_t got;
	if (io_read(w->fd, w->p, w->n, w->at, &got) == 0) {
		memset(w->p + got, 0, w->n - got);
		return;
	}
	for (size_t i = 0; i < w->n; i += SEG_PAGE) {
		size_t n = w->n - i < SEG_PAGE ? w->n - i : SEG_PAGE;
		if (io_read(w->fd, w->p + i, n, w->at + i, &got) != 0) {
			got = 0;
			w->unread = true;
		}
		memset(w->p + i + got, 0, n - got);
	}
}

static const unsigned char *
window_get(void *arg, uint64_t off, size_t n)
{
	struct window *w = arg;
	if (off > w->size || n > w->size - off)
		return NULL;
	if (off < w->at || off + n > w->at + w->n) {
		size_t want = n > WINDOW ? n : WINDOW;
		if (want > w->size - off)
			want = (size_t)(w->size - off);
		if (want > w->cap) {
			mem_free(&w->p);
			w->p = mem_alloc(want);
			w->cap = want;
		}
		w->at = off;
		w->n = want;
		fill(w);
	}
	return w->p + (off - w->at);
}

/* ---- records ---- */

static struct found *
look_up(struct recovery *r, const struct spool_id *id)
{
	uint64_t h = msg_hash(r->s, id);
	for (struct hnode *n = htab_first(&r->table, h); n != NULL; n = htab_next(n)) {
		struct found *f = container_of(n, struct found, by_id);
		if (f->id.usec == id->usec && f->id.serial == id->serial)
			return f;
	}
	return NULL;
}

static struct found *
entry_for(struct recovery *r, const struct spool_id *id)
{
	struct found *f = look_up(r, id);
	if (f != NULL)
		return f;
	if (r->chunk == NULL || r->chunk_at == CHUNK) {
		struct chunk *c = mem_alloc(sizeof *c);
		list_init(&c->link);
		list_append(&r->chunks, &c->link);
		r->chunk = c->entries;
		r->chunk_at = 0;
	}
	f = &r->chunk[r->chunk_at++];
	*f = (struct found){ .id = *id };
	htab_insert(&r->table, &f->by_id, msg_hash(r->s, id));
	return f;
}

static void
apply(struct recovery *r, struct segment *seg, uint64_t off, const struct rec *rec, uint32_t head, uint32_t body)
{
	struct found *f = entry_for(r, &rec->id);
	switch (rec->type) {
	case REC_ACCEPT:
		f->got |= GOT_ACCEPT;
		f->seg = seg;
		f->offset = off;
		f->head = head;
		f->body = body;
		break;
	case REC_STATE:
		if ((f->got & GOT_STATE) != 0 && rec->version < f->version)
			break;
		f->got |= GOT_STATE;
		f->version = rec->version;
		f->state_seg = seg;
		f->state_at = off + REC_HEADER;
		f->state_len = body;
		break;
	case REC_DONE:
	case REC_ABORT:
		f->got |= GOT_DONE;
		break;
	case REC_NONE:
	case REC_TYPES:
		BUG("record type");
	}
}

/* Another batch follows, so all of this one had reached the disk: its holes are damage, and what lies
 * behind them is true. */
static void
believe(struct recovery *r)
{
	for (size_t i = 0; i < r->nsuspects; i++) {
		const struct suspect *u = &r->suspects[i];
		apply(r, u->seg, u->off, &u->rec, 0, u->body);
	}
	r->nsuspects = 0;
}

static void
suspect(struct recovery *r, struct segment *seg, uint64_t off, const struct rec *rec)
{
	if (r->nsuspects == r->suspects_cap) {
		r->suspects_cap = r->suspects_cap == 0 ? 64 : 2 * r->suspects_cap;
		r->suspects = mem_reallocarray(r->suspects, r->suspects_cap, sizeof *r->suspects);
	}
	struct suspect *u = &r->suspects[r->nsuspects++];
	*u = (struct suspect){ .seg = seg, .off = off, .rec = *rec, .body = (uint32_t)rec->body.n };
	u->rec.head = u->rec.body = SPAN_EMPTY;
}

static void
take_record(struct recovery *r, struct segment *seg, const struct scan_item *it)
{
	const struct rec *rec = &it->rec;
	r->report->records++;
	if (!r->in_batch) {
		/* the oldest segment may begin in the middle of a batch: the front was reused */
		r->in_batch = true;
		r->batch = rec->batch;
		r->number = rec->number;
	} else if (rec->batch != r->batch) {
		if (rec->batch == r->batch + 1)
			believe(r);
		else
			r->nsuspects = 0; /* a process ended in between: what its successor did not believe stays so */
		r->batch = rec->batch;
		r->number = 0;
		r->holed = false;
	}
	if (rec->number != r->number)
		r->holed = true;
	r->number = rec->number + 1;
	if (rec->batch > r->s->batch_seq)
		r->s->batch_seq = rec->batch;
	/* A write that was cut may have lost the ACCEPT of a report and kept the DONE of the message it reports
	 * on. Delivered again is better than lost. An ACCEPT is taken in any case. */
	if (r->holed && rec->type != REC_ACCEPT)
		suspect(r, seg, it->off, rec);
	else
		apply(r, seg, it->off, rec, (uint32_t)rec->head.n, (uint32_t)rec->body.n);
}

static void
read_segment(struct recovery *r, struct segment *seg, uint64_t size, struct window *w)
{
	*w = (struct window){ .fd = seg->fd, .size = size, .p = w->p, .cap = w->cap };
	struct scan scan = { .get = window_get, .arg = w, .at = SEG_HEADER, .end = size, .stamp = seg_stamp(&seg->head) };
	r->report->bytes += size;
	for (struct scan_item it;;) {
		switch (scan_next(&scan, &it)) {
		case SCAN_END:
			seg->keep = w->unread;
			seg->bad |= w->unread;
			return;
		case SCAN_RECORD:
			take_record(r, seg, &it);
			break;
		case SCAN_DAMAGE:
			r->report->damaged_places++;
			r->report->damaged_bytes += it.len;
			aside_bytes(r->s, seg->fd, seg->head.generation, it.off, it.len);
			break;
		case SCAN_TORN:
			r->report->torn_bytes += it.len;
			aside_bytes(r->s, seg->fd, seg->head.generation, it.off, it.len);
			break;
		}
	}
}

/* ---- the segments there are ---- */

/* Neither header can be read: the youngest records in it are taken for its own. */
static bool
guess_head(struct window *w, struct seg_head *out)
{
	*out = (struct seg_head){ 0 };
	for (uint64_t off = SEG_HEADER; off + REC_HEADER <= w->size; off += REC_ALIGN) {
		const unsigned char *p = window_get(w, off, REC_HEADER);
		uint64_t stamp = 0;
		for (int i = 7; i >= 0; i--)
			stamp = stamp << 8 | p[8 + i];
		size_t n = (stamp & UINT32_MAX) > out->generation ? rec_claims(p, stamp) : 0;
		struct rec rec;
		if (n == 0 || (p = window_get(w, off, n)) == NULL || rec_get(span_of(p, n), stamp, &rec) != RC_OK)
			continue;
		out->generation = stamp & UINT32_MAX;
		out->nonce = (uint32_t)(stamp >> 32);
	}
	out->size = w->size;
	return out->generation > 0;
}

static bool
is_segment_name(const char *name, uint32_t *file_out)
{
	char again[SEG_NAME];
	char *end;
	unsigned long v = strtoul(name, &end, 16);
	seg_name(again, (uint32_t)v);
	*file_out = (uint32_t)v;
	return strcmp(name, again) == 0;
}

static void
into_order(struct list *used, struct segment *seg)
{
	struct list *at = used->prev;
	while (at != used && list_entry(at, struct segment, link)->head.generation > seg->head.generation)
		at = at->prev;
	list_insert_after(at, &seg->link);
}

static enum rc
find_segment(struct recovery *r, const char *name, uint32_t file, struct window *w, struct err *e)
{
	struct spool *s = r->s;
	errno = 0;
	int fd = io_open(s->journal_fd, name, O_RDWR), ro = io_open(s->journal_fd, name, O_RDONLY);
	struct stat st;
	if (fd < 0 || ro < 0 || spool_io->fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		int error = errno;
		if (fd >= 0)
			(void)spool_io->close(fd);
		if (ro >= 0)
			(void)spool_io->close(ro);
		if (error != 0 && error != EACCES && error != EPERM && error != EISDIR && error != ELOOP && error != ENXIO)
			return err_set(e, RC_TEMP, "journal/%s: %s", name, strerrordesc_np(error));
		log_error(NULL, "spool: journal/%s cannot be read; it is moved to corrupt/", name);
		r->report->damaged_places++;
		r->report->set_aside++;
		(void)spool_io->renameat(s->journal_fd, name, s->corrupt_fd, name);
		return RC_OK;
	}
	uint64_t size = (uint64_t)st.st_size;
	struct seg_head h;
	size_t got = 0;
	unsigned char page[SEG_HEADER];
	bool bad = false;
	if ((io_read(fd, page, sizeof page, 0, &got) != 0 && io_read(fd, page, sizeof page, 0, &got) != 0) || seg_head_get(span_of(page, got), &h) != RC_OK) {
		*w = (struct window){ .fd = fd, .size = size, .p = w->p, .cap = w->cap };
		r->report->damaged_places += size > 0;
		r->report->damaged_bytes += size > 0 ? SEG_HEADER : 0;
		if (!guess_head(w, &h)) {
			/* nothing in it; if it was one of ours its records are gone */
			(void)spool_io->renameat(s->journal_fd, name, s->corrupt_fd, name);
			(void)spool_io->close(fd);
			(void)spool_io->close(ro);
			r->report->set_aside++;
			return RC_OK;
		}
		memcpy(h.spool, s->uuid, sizeof h.spool);
		bad = true;
	}
	if (h.size != size) {
		r->report->damaged_places += size < h.size;
		r->report->damaged_bytes += size < h.size ? h.size - size : 0;
		h.size = size; /* cut: what is left is read, and it is not used again */
		bad = true;
	}
	struct segment *seg = segment_new(&h, file, fd, ro);
	seg->bad = bad;
	seg->pos = h.size;
	into_order(&s->used, seg);
	s->nused++;
	if (h.generation >= s->next_generation)
		s->next_generation = h.generation + 1;
	if (file >= s->next_file)
		s->next_file = file + 1;
	return RC_OK;
}

static DIR *
list_dir(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL && fd >= 0)
		close(fd);
	return d;
}

static enum rc
read_journal(struct recovery *r, struct err *e)
{
	struct spool *s = r->s;
	struct window w = { 0 };
	enum rc rc = RC_OK;
	DIR *d = list_dir(s->journal_fd);
	if (d == NULL)
		return err_set(e, RC_TEMP, "journal: %s", strerrordesc_np(errno));
	for (struct dirent *de; rc == RC_OK && (de = readdir(d)) != NULL;) {
		uint32_t file;
		if (is_segment_name(de->d_name, &file))
			rc = find_segment(r, de->d_name, file, &w, e);
		else if (strcmp(de->d_name, "new") == 0)
			(void)spool_io->unlinkat(s->journal_fd, de->d_name, 0);
	}
	closedir(d);
	bool named = false;
	list_each(l, &s->used) {
		struct segment *seg = list_entry(l, struct segment, link);
		if (rc != RC_OK)
			break;
		if (!named && !seg->bad)
			memcpy(s->uuid, seg->head.spool, sizeof s->uuid), named = true;
		read_segment(r, seg, seg->head.size, &w);
	}
	mem_free(&w.p);
	return rc;
}

/* ---- the files there are, and the messages of both ---- */

struct known {
	struct spool_id id;
	struct found *f;         /* NULL: only a file */
	bool file;
};

struct known_list {
	struct known *v;
	size_t n, cap;
};

static struct known *
add_known(struct known_list *k, const struct spool_id *id)
{
	if (k->n == k->cap) {
		k->cap = k->cap == 0 ? 1024 : 2 * k->cap;
		k->v = mem_reallocarray(k->v, k->cap, sizeof *k->v);
	}
	k->v[k->n] = (struct known){ .id = *id };
	return &k->v[k->n++];
}

static int
by_time(const void *a, const void *b)
{
	const struct known *x = a, *y = b;
	if (x->id.usec != y->id.usec)
		return x->id.usec < y->id.usec ? -1 : 1;
	return (x->id.serial > y->id.serial) - (x->id.serial < y->id.serial);
}

static enum rc
gather(struct recovery *r, struct known_list *k, struct err *e)
{
	struct spool *s = r->s;
	DIR *d = list_dir(s->messages_fd);
	if (d == NULL)
		return err_set(e, RC_TEMP, "messages: %s", strerrordesc_np(errno));
	for (struct dirent *de; (de = readdir(d)) != NULL;) {
		struct spool_id id;
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (spool_id_parse(span_str(de->d_name), &id) != RC_OK) {
			r->report->set_aside += aside_file(s, de->d_name);
			continue;
		}
		struct found *f = look_up(r, &id);
		if (f != NULL && (f->got & GOT_DONE) != 0) {
			filejob_remove(&s->filer, s->messages_fd, &id);
			continue;
		}
		if (f != NULL)
			f->got |= GOT_FILE;
		struct known *n = add_known(k, &id);
		n->f = f;
		n->file = true;
	}
	closedir(d);
	for (struct hnode *n = htab_walk(&r->table, NULL); n != NULL; n = htab_walk(&r->table, n)) {
		struct found *f = container_of(n, struct found, by_id);
		if ((f->got & (GOT_ACCEPT | GOT_DONE | GOT_FILE)) == GOT_ACCEPT)
			add_known(k, &f->id)->f = f;
	}
	if (k->n > 0)
		qsort(k->v, k->n, sizeof *k->v, by_time);
	return RC_OK;
}

/* Read before, with the right sum: that it cannot be read now is no damage but trouble, and ends recovery. */
static bool
read_part(struct segment *seg, uint64_t at, uint32_t n, struct buf *out)
{
	size_t got = 0;
	buf_reset(out);
	unsigned char *p = buf_reserve(out, n);
	for (int tries = 0; tries < 3; tries++)
		if (io_read(seg->ro, p, n, at, &got) == 0 && got == n) {
			buf_commit(out, n);
			return true;
		}
	return false;
}

static void
restore(struct spool *s, struct spool_msg *m, const struct spool_id *id, uint32_t version)
{
	m->id = *id;
	m->version = version;
	m->pins = 0;
	m->flags = 0;
	m->segment = m->last_segment = 0;
	msg_enter(s, m);
}

/* RC_NONE: the file is no message, or still cannot be read after some tries, and was set aside. It must not come
 * back by itself: what the journal says about it will be gone by then. */
static enum rc
from_file(struct recovery *r, const struct known *k, struct buf *state, struct err *why)
{
	struct spool *s = r->s;
	char name[SPOOL_ID_TEXT];
	struct file_view v = { 0 };
	struct err e;
	spool_id_text(&k->id, name);
	int fd = -1;
	enum rc rc = RC_TEMP;
	for (int tries = 0; tries < 3 && rc == RC_TEMP; tries++) {
		file_view_fini(&v);
		if (fd < 0 && (fd = io_open(s->messages_fd, name, O_RDWR)) < 0)
			rc = err_set(&e, RC_TEMP, "%s", strerrordesc_np(errno));
		else
			rc = file_view_read(fd, &v, &e);
	}
	if (rc == RC_OK && (v.head.id.usec != k->id.usec || v.head.id.serial != k->id.serial))
		rc = err_set(&e, RC_PERM, "it says that it is another message");
	struct spool_msg *m = NULL;
	if (rc == RC_OK) {
		struct span best = v.state;
		uint32_t version = v.version;
		const struct found *f = k->f;
		bool newer = f != NULL && (f->got & GOT_STATE) != 0 && f->version > version;
		if (newer && !read_part(f->state_seg, f->state_at, f->state_len, state)) {
			file_view_fini(&v);
			(void)spool_io->close(fd);
			return err_set(why, RC_TEMP, "the journal cannot be read any more");
		}
		if (newer) {
			best = buf_span(state);
			version = f->version;
		}
		if (v.dirty_end)
			(void)!spool_io->ftruncate(fd, io_off(v.records_end));
		if (v.damaged > 0) {
			r->report->damaged_places++;
			r->report->damaged_bytes += v.damaged;
		}
		m = s->ops->recovered(s->owner, &k->id, v.envelope, best);
		if (m != NULL) {
			restore(s, m, &k->id, version);
			m->flags = MSG_FILED | MSG_UNCHECKED;
			m->length = v.head.length;
			m->offset = FILE_HEADER;
			if (newer) {
				m->last_segment = f->state_seg->head.generation;
				list_append(&f->state_seg->live, &m->in_segment);
			}
		} else {
			rc = err_set(&e, RC_PERM, "its envelope cannot be read");
		}
	}
	file_view_fini(&v);
	if (fd >= 0)
		(void)spool_io->close(fd);
	if (m != NULL)
		return RC_OK;
	bool moved = aside_file(s, name) || aside_file(s, name);
	r->report->set_aside += moved;
	log_error(NULL, "spool: messages/%s: %s; %s", name, e.why, moved ? "moved to corrupt/" : "it stays where it is");
	return RC_NONE;
}

static enum rc
from_journal(struct recovery *r, const struct found *f, struct buf *envelope, struct buf *state, struct err *e)
{
	struct spool *s = r->s;
	uint32_t version = (f->got & GOT_STATE) != 0 ? f->version : 0;
	buf_reset(state);
	if (!read_part(f->seg, f->offset + REC_HEADER, f->head, envelope) ||
	    (version > 0 && !read_part(f->state_seg, f->state_at, f->state_len, state)))
		return err_set(e, RC_TEMP, "the journal cannot be read any more");
	struct spool_msg *m = s->ops->recovered(s->owner, &f->id, buf_span(envelope), buf_span(state));
	if (m == NULL) {
		char name[SPOOL_ID_TEXT];
		spool_id_text(&f->id, name);
		log_error(NULL, "spool: %s: its envelope cannot be read; it is copied to corrupt/", name);
		aside_bytes(s, f->seg->fd, f->seg->head.generation, f->offset, REC_HEADER + (uint64_t)f->head + f->body);
		r->report->set_aside++;
		commit_put(s, REC_DONE, &f->id, UINT32_MAX, SPAN_EMPTY, SPAN_EMPTY, NULL, false, 0);
		return RC_OK;
	}
	restore(s, m, &f->id, version);
	m->length = f->body;
	m->head = REC_HEADER + f->head;
	m->offset = f->offset + m->head;
	m->segment = f->seg->head.generation;
	m->last_segment = version > 0 && f->state_seg->head.generation > m->segment ? f->state_seg->head.generation : m->segment;
	list_append(&f->seg->live, &m->in_segment);
	return RC_OK;
}

static void
sweep_drafts(struct spool *s)
{
	DIR *d = list_dir(s->drafts_fd);
	if (d == NULL)
		return;
	for (struct dirent *de; (de = readdir(d)) != NULL;)
		if (de->d_name[0] != '.')
			(void)spool_io->unlinkat(s->drafts_fd, de->d_name, 0);
	closedir(d);
}

enum rc
recover_run(struct spool *s, struct spool_report *report, struct err *e)
{
	struct recovery r = { .s = s, .report = report };
	struct known_list known = { 0 };
	struct buf envelope, state;
	list_init(&r.chunks);
	buf_init(&envelope, SIZE_MAX / 4);
	buf_init(&state, SIZE_MAX / 4);
	uint64_t began = spool_io->now();
	rand_bytes(s->uuid, sizeof s->uuid);
	s->next_generation = s->next_file = 1;
	sweep_drafts(s);
	enum rc rc = read_journal(&r, e);
	if (rc == RC_OK)
		rc = gather(&r, &known, e);
	for (size_t i = 0; rc == RC_OK && i < known.n; i++) {
		const struct known *k = &known.v[i];
		enum rc got = k->file ? from_file(&r, k, &state, e) : RC_NONE;
		if (got == RC_NONE && k->f != NULL && (k->f->got & GOT_ACCEPT) != 0)
			got = from_journal(&r, k->f, &envelope, &state, e);
		if (got == RC_TEMP)
			rc = RC_TEMP;
	}
	s->batch_seq++; /* one number is left out: see take_record */
	report->messages = s->by_id.count;
	report->usec = spool_io->now() - began;
	for (struct list *l; (l = list_pop(&r.chunks)) != NULL;) {
		struct chunk *c = list_entry(l, struct chunk, link);
		mem_free(&c);
	}
	htab_fini(&r.table);
	mem_free(&r.suspects);
	mem_free(&known.v);
	buf_fini(&envelope);
	buf_fini(&state);
	return rc;
}

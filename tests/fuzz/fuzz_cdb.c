/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: a file is a constant database or is refused; what it gives is within it, and written again reads the same. */
#include "map/cdbfile.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct seen {
	struct cdbfile_writer *to;
	size_t records, octets;
	uint64_t sum;
};

static char dir[] = "/tmp/dogana-fuzz-XXXXXX", copy[64];

static void
clean(void)
{
	unlink(copy);
	rmdir(dir);
}

static void
record(void *arg, struct span key, struct span value)
{
	struct seen *s = arg;
	s->records++;
	s->octets += key.n + value.n;
	for (size_t i = 0; i < key.n; i++)
		s->sum = s->sum * 31 + key.p[i];
	for (size_t i = 0; i < value.n; i++)
		s->sum = s->sum * 37 + value.p[i];
	BUG_ON(s->to != NULL && cdbfile_add(s->to, key, value, NULL) != RC_OK);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static int made;
	char path[64];
	struct conf_version v;
	struct err e;
	if (n > 65536)
		return 0;
	if (made++ == 0) {
		BUG_ON(mkdtemp(dir) == NULL);
		snprintf(copy, sizeof copy, "%s/copy.cdb", dir);
		atexit(clean);
	}
	int fd = memfd_create("cdb", MFD_CLOEXEC);
	BUG_ON(fd < 0 || write(fd, p, n) != (ssize_t)n);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	struct seen first = { 0 }, again = { 0 };
	BUG_ON(cdbfile_open(copy, 0600, &first.to, &e) != RC_OK);
	enum rc rc = cdbfile_read(path, record, &first, &v, &e);
	BUG_ON(rc != RC_OK && rc != RC_TEMP);
	BUG_ON(first.octets > n);
	BUG_ON(cdbfile_close(&first.to, rc == RC_OK, &e) != RC_OK);
	if (rc == RC_OK) {
		BUG_ON(cdbfile_read(copy, record, &again, &v, &e) != RC_OK);
		BUG_ON(again.records != first.records);
		BUG_ON(first.octets == again.octets && again.sum != first.sum); /* a second NUL at an end goes at the second reading */
		BUG_ON(again.octets > first.octets);
		unlink(copy);
	}
	close(fd);
	return 0;
}

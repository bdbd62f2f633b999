/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/worker.h"

#include "base/fd.h"
#include "filters/confine.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOM_MAX = 16 << 20, DESCRIPTORS = 16 };

/* Its share of processor time begins anew; past it the process ends (SIGXCPU). */
static void
limit_time(unsigned seconds)
{
	struct rusage u;
	struct rlimit r;
	if (getrusage(RUSAGE_SELF, &u) != 0 || getrlimit(RLIMIT_CPU, &r) != 0)
		return;
	r.rlim_cur = (rlim_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1 + seconds;
	(void)setrlimit(RLIMIT_CPU, &r);
}

static void
send_answer(int fd, uint32_t number, const struct wire_answer *a)
{
	union {
		struct cmsghdr align;
		char octets[CMSG_SPACE(sizeof(int))];
	} ancillary = { .octets = { 0 } };
	struct worker_word word = { .number = number, .kind = WORKER_ANSWER };
	struct wire_answer sent = *a;
	int body = -1;
	if (sent.outcome == WIRE_STRIP) {
		body = memfd_create("body", MFD_CLOEXEC);
		if (body < 0 || fd_write(body, a->body) != 0)
			sent.outcome = WIRE_LATER;
	}
	struct buf b;
	buf_init(&b, WIRE_ANSWER_MAX);
	buf_put(&b, span_of(&word, sizeof word));
	wire_put_answer(&b, &sent);
	struct iovec iov = { b.p, buf_len(&b) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (sent.outcome == WIRE_STRIP) {
		m.msg_control = &ancillary;
		m.msg_controllen = sizeof ancillary;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof body);
		memcpy(CMSG_DATA(c), &body, sizeof body);
	}
	(void)!sendmsg(fd, &m, MSG_NOSIGNAL);
	if (body >= 0)
		close(body);
	buf_fini(&b);
}

static void
answer(const struct pool_settings *ps, int fd, uint32_t number, int question)
{
	struct stat st;
	struct arena room;
	struct buf body;
	struct wire_question q;
	struct wire_answer a = { .outcome = WIRE_LATER };
	void *map = fstat(question, &st) == 0 && st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, question, 0) : MAP_FAILED;
	close(question);
	if (map == MAP_FAILED) {
		send_answer(fd, number, &a);
		return;
	}
	arena_init(&room, ROOM_MAX);
	buf_init(&body, (size_t)st.st_size * 2 + ROOM_MAX);
	limit_time(ps->cpu_seconds);
	if (wire_get_question(span_of(map, (size_t)st.st_size), &room, &q) == RC_OK)
		judge_message(ps->judge, &q, &room, &body, &a);
	send_answer(fd, number, &a);
	buf_fini(&body);
	arena_fini(&room);
	munmap(map, (size_t)st.st_size);
}

void
worker_run(const struct pool_settings *ps, int fd)
{
	struct confine want = { .memory_bytes = ps->memory_bytes, .descriptors = DESCRIPTORS };
	struct err e;
	if (confine(&want, NULL, &e) != RC_OK) {
		fprintf(stderr, "dogana-attachments: %s\n", e.why);
		_exit(1);
	}
	for (;;) {
		union {
			struct cmsghdr align;
			char octets[CMSG_SPACE(sizeof(int))];
		} ancillary;
		struct worker_word word = { .number = 0 };
		struct iovec iov = { &word, sizeof word };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
		int question = -1;
		ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof question))
				memcpy(&question, CMSG_DATA(c), sizeof question);
		if (n == sizeof word && word.kind == WORKER_QUESTION && question >= 0)
			answer(ps, fd, word.number, question);
		else if (question >= 0)
			close(question);
	}
}

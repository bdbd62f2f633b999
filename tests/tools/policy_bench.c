/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy_bench DIR lookup PARAMETER < keys      ns for one lookup in the tables of a parameter (median and worst tenth)
 * policy_bench DIR rcpt N < sessions            us of processor time for one RCPT, over N of them. A session is a
 *                                               line: address TAB name ("unknown": none) TAB helo TAB sender TAB recipient
 *
 * As a role does it: from the image of the configuration. Nothing here waits: rules that would are no part of it.
 */
#include "base/mem.h"
#include "map/map.h"
#include "policy/policy.h"

#include <time.h>
#include <unistd.h>

enum { LINES_MAX = 100000, LINE_MAX_BYTES = 4096, BATCH = 20 };

static char *lines[LINES_MAX];
static size_t nlines;

static uint64_t
cpu_nsec(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
never(struct op *op)
{
	(void)op;
}

static int
fatal(const struct conf *c, const char *why)
{
	fprintf(stderr, "policy_bench: %s\n", why);
	for (size_t i = 0; c != NULL && i < conf_problem_count(c, CONF_ERROR); i++)
		fprintf(stderr, "  %s\n", conf_problem_at(c, i, CONF_ERROR)->text);
	return 2;
}

static int
by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static int
lookups(const struct map_list *l)
{
	struct buf scratch;
	struct span v;
	size_t n = 0, found = 0;
	buf_init(&scratch, 65536);
	uint64_t *spent = mem_calloc(nlines / BATCH + 1, sizeof *spent);
	for (size_t i = 0; i + BATCH <= nlines; i += BATCH) {
		uint64_t from = cpu_nsec();
		for (size_t k = i; k < i + BATCH; k++)
			found += map_find(l, span_str(lines[k]), 0, &scratch, &v, NULL) == RC_OK;
		spent[n++] = (cpu_nsec() - from) / BATCH;
	}
	qsort(spent, n, sizeof *spent, by_value);
	if (n > 0)
		printf("%llu %llu %zu\n", (unsigned long long)spent[n / 2], (unsigned long long)spent[n * 9 / 10], found);
	mem_free(&spent);
	buf_fini(&scratch);
	return 0;
}

static struct span
field(struct span *rest)
{
	size_t tab = span_chr(*rest, '\t');
	struct span f = span_head(*rest, tab);
	*rest = tab == SIZE_MAX ? SPAN_EMPTY : span_from(*rest, tab + 1);
	return f;
}

static int
rcpts(const struct policy *p, size_t count)
{
	struct op_owner owner;
	struct policy_run r;
	uint64_t spent = 0;
	size_t done = 0, refused = 0;
	op_owner_init(&owner);
	policy_run_init(&r, &owner, never);
	while (nlines > 0 && done < count) {
		struct span line = span_str(lines[done % nlines]);
		struct facts f = { .is_esmtp = true, .has_helo = true, .has_sender = true, .has_rcpt = true };
		f.client_addr = field(&line);
		f.client_name = f.reverse_name = field(&line);
		f.helo = field(&line);
		f.sender = field(&line);
		f.rcpt = field(&line);
		f.client_name_rc = f.reverse_name_rc = span_eq_str(f.client_name, "unknown") ? RC_NONE : RC_OK;
		if (ipaddr_parse(f.client_addr, &f.client) != RC_OK)
			return fatal(NULL, "bad address in a session");
		uint64_t from = cpu_nsec();
		bool now = policy_run_now(&r, p, POLICY_RCPT, &f);
		spent += cpu_nsec() - from;
		if (!now)
			return fatal(NULL, "a rule waits");
		refused += r.verdict.kind == VERDICT_REFUSE;
		policy_run_reset(&r);
		done++;
	}
	printf("%.2f %zu %zu\n", done > 0 ? (double)spent / 1000 / (double)done : 0, done, refused);
	policy_run_fini(&r);
	return 0;
}

static void
read_lines(void)
{
	static char line[LINE_MAX_BYTES];
	while (nlines < LINES_MAX && fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		lines[nlines++] = mem_strdup(line);
	}
}

int
main(int argc, char **argv)
{
	struct conf *c = NULL, *role = NULL;
	struct policy *p = NULL;
	struct map_list *l = NULL;
	struct err e = { .why = "" };
	int image = -1, status = 2;
	bool is_lookup = argc == 4 && strcmp(argv[2], "lookup") == 0;
	if (argc != 4) {
		fprintf(stderr, "usage: policy_bench DIR lookup PARAMETER | rcpt N\n");
		return 2;
	}
	read_lines();
	if (conf_load(argv[1], &c, &e) != RC_OK)
		return fatal(c, e.why);
	policy_check(c);
	if (is_lookup && maps_open_param(c, NULL, argv[3], &l, &e) != RC_OK)
		return fatal(c, e.why);
	map_list_free(&l);
	if (conf_image_write(c, CONF_FOR_ALL, &image, &e) != RC_OK || conf_image_read(image, &role, &e) != RC_OK)
		return fatal(c, e.why);
	close(image);
	conf_unref(&c);
	if (is_lookup) {
		status = maps_open_param(role, NULL, argv[3], &l, &e) == RC_OK ? lookups(l) : fatal(role, e.why);
		map_list_free(&l);
	} else {
		status = policy_compile(role, conf_service_find(role, "smtp", "inet"), &p, &e) == RC_OK
		    ? rcpts(p, (size_t)strtoull(argv[3], NULL, 10)) : fatal(role, e.why);
		policy_free(&p);
	}
	conf_unref(&role);
	for (size_t i = 0; i < nlines; i++)
		mem_free(&lines[i]);
	return status;
}

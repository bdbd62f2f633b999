/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/check_routes.h"

#include "deliver/nexthop.h"
#include "map/map.h"
#include "queue/wish.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENTRIES_MAX = 1000000, COMPLAINTS_MAX = 20 };

enum kind { TRANSPORT, NEXTHOP, WISH };

struct look {
	struct conf *c;
	const char *parameter;
	enum kind kind;
	enum conf_severity severity;
	size_t looked_at;
	unsigned complaints;
};

/* The line of the entry with this key in the text a table is made from; 0: it is not such a table. */
static int
line_of(const struct conf *c, const char *table, struct span key)
{
	static const char *const types[] = { "hash:", "texthash:", "lmdb:", "btree:", "cdb:", "dbm:", "sdbm:" };
	struct span name = span_str(table);
	char path[1024];
	bool known = false;
	for (size_t i = 0; i < NELEMS(types); i++)
		known = known || span_starts(name, span_str(types[i]));
	name = span_from(name, span_chr(name, ':') + 1);
	if (!known || name.n == 0)
		return 0;
	int n = name.p[0] == '/' ? snprintf(path, sizeof path, "%.*s", (int)name.n, (const char *)name.p)
	                         : snprintf(path, sizeof path, "%s/%.*s", conf_directory(c), (int)name.n, (const char *)name.p);
	int fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	struct stat st;
	void *text = MAP_FAILED;
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	int found = 0, at;
	if (text != MAP_FAILED) {
		struct conf_lines it = { .rest = span_of(text, (size_t)st.st_size) };
		struct buf line;
		buf_init(&line, 1 << 20);
		while (found == 0 && conf_lines_next(&it, &line, &at) == RC_OK) {
			struct span rest = buf_span(&line), word;
			if (span_word(&rest, " \t", &word) && span_caseeq(word, key))
				found = at;
		}
		buf_fini(&line);
		munmap(text, (size_t)st.st_size);
	}
	if (fd >= 0)
		close(fd);
	return found;
}

static void
complain(struct look *l, const char *table, struct span key, const char *why)
{
	int line = line_of(l->c, table, key);
	l->complaints++;
	if (line > 0)
		conf_problem(l->c, l->severity, NULL, l->parameter, "%s: %s:%d: %.*s: %s", l->parameter, strchr(table, ':') + 1, line, (int)span_head(key, 200).n,
		    (const char *)key.p, why);
	else
		conf_problem(l->c, l->severity, NULL, l->parameter, "%s: %s: %.*s: %s", l->parameter, table, (int)span_head(key, 200).n, (const char *)key.p, why);
}

/* false: it is one, why has what is wrong with it. */
static bool
transport_runs(const struct conf *c, struct span name, const struct service **out, char why[200])
{
	static const char *const built_in[] = { "smtp", "relay", "lmtp", "error", "retry", "discard" };
	char text[100];
	*out = NULL;
	if (name.n >= sizeof text || span_chr(name, '\0') != SIZE_MAX) {
		snprintf(why, 200, "bad name of a transport");
		return false;
	}
	snprintf(text, sizeof text, "%.*s", (int)name.n, (const char *)name.p);
	const struct service *s = *out = conf_service_find(c, text, "unix");
	for (size_t i = 0; s == NULL && i < NELEMS(built_in); i++)
		if (strcmp(text, built_in[i]) == 0)
			return true;
	if (s == NULL)
		snprintf(why, 200, "master.cf has no service \"%s\" of type unix", text);
	else if (s->kind == SERVICE_UNSUPPORTED)
		snprintf(why, 200, "transport \"%s\": %.60s: known, not supported yet", text, s->command);
	else if (s->kind != SERVICE_TRANSPORT)
		snprintf(why, 200, "transport \"%s\": %.60s delivers no mail", text, s->command);
	return s != NULL && s->kind == SERVICE_TRANSPORT;
}

static void
check_hops(struct look *l, const char *table, struct span key, struct span hops, bool lmtp)
{
	struct nexthop hop;
	struct err e = { .why = "" };
	enum rc rc;
	while ((rc = nexthop_next(&hops, lmtp, "smtp", conf_params(l->c)->p_known_tcp_ports, &hop, &e)) != RC_NONE)
		if (rc != RC_OK) {
			complain(l, table, key, e.why);
			return;
		}
}

static bool
is_command(const struct service *s, struct span name, const char *command)
{
	return s != NULL ? strcmp(s->command, command) == 0 : span_eq_str(name, command) || (strcmp(command, "smtp") == 0 && span_eq_str(name, "relay"));
}

static bool
look_at(void *arg, const char *table, struct span key, struct span value)
{
	struct look *l = arg;
	const struct service *s = NULL;
	char why[200] = "";
	value = span_trim(value);
	if (span_caseeq_str(value, "DUNNO") && l->kind == TRANSPORT && strcmp(l->parameter, "transport_maps") != 0)
		value = SPAN_EMPTY;
	if (l->kind == WISH) {
		struct err e = { .why = "" };
		enum wish wish;
		if (wish_read(value, HELD_POLICY, &wish, &e) != RC_OK)
			complain(l, table, key, e.why);
	} else if (l->kind == NEXTHOP) {
		if (!span_caseeq_str(value, "DUNNO"))
			check_hops(l, table, key, value, false);
	} else {
		size_t colon = span_chr(value, ':');
		struct span name = span_trim(span_head(value, colon)), hops = colon == SIZE_MAX ? SPAN_EMPTY : span_from(value, colon + 1);
		/* only :nexthop: which transport it is depends on the address */
		if (name.n > 0 && !transport_runs(l->c, name, &s, why))
			complain(l, table, key, why);
		else if (name.n > 0 && (is_command(s, name, "smtp") || is_command(s, name, "lmtp")))
			check_hops(l, table, key, hops, is_command(s, name, "lmtp"));
	}
	return ++l->looked_at < ENTRIES_MAX && l->complaints < COMPLAINTS_MAX;
}

void
check_routes(struct conf *c, enum conf_severity severity)
{
	static const struct {
		const char *parameter;
		enum kind kind;
	} rows[] = {
		{ "transport_maps", TRANSPORT }, { "sender_dependent_default_transport_maps", TRANSPORT }, { "sender_dependent_relayhost_maps", NEXTHOP },
		{ "quarantine_recipient_policy", WISH },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct look l = { .c = c, .parameter = rows[i].parameter, .kind = rows[i].kind, .severity = severity };
		struct map_list *maps = NULL;
		struct err e;
		if (maps_open_param(c, NULL, rows[i].parameter, &maps, &e) == RC_OK)
			map_list_each(maps, look_at, &l);
		map_list_free(&maps);
	}
}

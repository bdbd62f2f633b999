/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/check.h"

#include "admin/check_routes.h"
#include "admin/filterprogram.h"
#include "admin/logfile.h"
#include "admin/procs.h"
#include "base/mem.h"
#include "conf/ports.h"
#include "deliver/nexthop.h"
#include "deliver/outset.h"
#include "dns/dns.h"
#include "filters/attachment_conf.h"
#include "filters/bundled.h"
#include "filters/virus_conf.h"
#include "ipc/sandbox.h"
#include "map/remote.h"
#include "policy/policy.h"
#include "quarantine/store.h"
#include "queue/notices.h"
#include "queue/route.h"
#include "smtp/service.h"
#include "tls/key.h"

#include <sys/stat.h>
#include <unistd.h>

/* The port of an inet service: getaddrinfo would take 99999 for 34463, and a name only fails at the start. */
static void
check_port(struct conf *c, const struct service *sv)
{
	struct span name = span_str(sv->name);
	size_t colon = span_rchr(name, ':');
	struct span port = colon != SIZE_MAX ? span_from(name, colon + 1) : name;
	uint16_t n;
	if (port_find(port, sv->params->p_known_tcp_ports, &n) != RC_OK)
		conf_problem(c, CONF_ERROR, sv, NULL, "service \"%s\" (inet): there is no port \"%.*s\"", sv->name, (int)port.n, (const char *)port.p);
}

static void
check_nexthops(struct conf *c, const char *name, const char *value)
{
	struct span rest = span_str(value);
	struct nexthop hop;
	struct err e = { .why = "" };
	enum rc rc;
	while ((rc = nexthop_next(&rest, false, "smtp", conf_params(c)->p_known_tcp_ports, &hop, &e)) != RC_NONE)
		if (rc != RC_OK)
			conf_problem(c, CONF_ERROR, NULL, name, "%s: %s", name, e.why);
}

static void
check_user(struct conf *c, const char *name, const char *user)
{
	struct sandbox box;
	struct err e;
	if (geteuid() == 0 && sandbox_user(&box, user, &e) != RC_OK) /* a start as root would fail; the files may be for another machine */
		conf_problem(c, CONF_WARNING, NULL, name, "%s: %s: make install or systemd-sysusers makes it, or name another (a number is fine)", name, e.why);
}

/* The queue opens it as queue_user: it uses a directory that is its own, and makes one where that user may. */
static void
check_quarantine(struct conf *c)
{
	const struct params *p = conf_params(c);
	const char *dir = p->p_quarantine_directory, *why = NULL;
	struct sandbox box;
	struct err e;
	struct stat st;
	if (geteuid() != 0 || dir[0] != '/' || sandbox_user(&box, p->p_queue_user, &e) != RC_OK)
		return;
	if (stat(dir, &st) == 0) {
		why = !S_ISDIR(st.st_mode) ? "is no directory" : st.st_uid != box.uid ? "belongs to somebody else" : NULL;
	} else if (!span_starts(span_str(dir), span_str(p->p_queue_directory)) || dir[strlen(p->p_queue_directory)] != '/') { /* what is below that, the start makes */
		struct span above = span_head(span_str(dir), span_rchr(span_str(dir), '/'));
		char *parent = mem_zalloc(above.n + 2);
		memcpy(parent, above.n > 0 ? (const char *)above.p : "/", above.n > 0 ? above.n : 1);
		bool may = stat(parent, &st) == 0 && S_ISDIR(st.st_mode) &&
		    (st.st_mode & (st.st_uid == box.uid ? S_IWUSR : st.st_gid == box.gid ? S_IWGRP : S_IWOTH)) != 0;
		why = may ? NULL : "is not there, and queue_user cannot make it";
		mem_free(&parent);
	}
	if (why != NULL)
		conf_problem(c, CONF_WARNING, NULL, "quarantine_directory",
		    "quarantine_directory: %s %s: mail that would be held is deferred until a start finds a directory of queue_user: install -d -m 700 -o %s %s", dir, why,
		    p->p_queue_user, dir);
}

/* What would only come out when the gateway starts, or when the first message waits. */
static void
check_start(struct conf *c)
{
	const struct params *p = conf_params(c);
	if (!logfile_allowed(p))
		conf_problem(c, CONF_ERROR, NULL, "maillog_file", "maillog_file = %s is not below maillog_file_prefixes", p->p_maillog_file);
	check_nexthops(c, "relayhost", p->p_relayhost);
	check_nexthops(c, "smtp_fallback_relay", p->p_smtp_fallback_relay);
	for (size_t i = 0; i < conf_service_count(c); i++) {
		const struct service *sv = conf_service(c, i);
		if (!sv->disabled && strcmp(sv->type, "inet") == 0 && sv->kind == SERVICE_LISTENER)
			check_port(c, sv);
	}
	const struct {
		const char *name, *user;
	} users[] = { { "edge_user", p->p_edge_user }, { "queue_user", p->p_queue_user }, { "relay_user", p->p_relay_user } };
	for (size_t i = 0; i < NELEMS(users); i++)
		check_user(c, users[i].name, users[i].user);
}

/* rows: how bad a row is that sends its own mail nowhere. */
static void
check_all(struct conf *c, enum conf_severity rows)
{
	conf_check_params(c);
	check_start(c);
	dns_conf_check(c);
	policy_check(c);
	tls_keys_check(c);
	edge_conf_check(c);
	attachment_conf_check(c);
	outset_check(c);
	struct router *router = NULL;
	struct err trouble = { .why = "" };
	if (router_open(c, &router, &trouble) == RC_OK) /* else its problems are in the snapshot */
		check_routes(c, rows);
	router_free(&router);
	struct quar_settings held;
	if (quar_settings_read(c, &held, &trouble) != RC_OK) {
		const char *name = strstr(trouble.why, "quarantine_directory") != NULL ? "quarantine_directory" : "quarantine_retention";
		conf_problem(c, CONF_ERROR, NULL, name, "%s", trouble.why);
	}
	check_quarantine(c);
	struct notices_settings *notices = NULL;
	if (notices_settings_open(c, &notices, &trouble) == RC_OK) /* the same; and template files are in it now */
		notices_settings_free(&notices);
	if (map_remote_tables(c) != NULL)
		check_user(c, "lookup_user", conf_params(c)->p_lookup_user);
	if (procs_wants(c, ROLE_KEYS))
		check_user(c, "keys_user", conf_params(c)->p_keys_user);
	if (procs_wants(c, ROLE_AUTH))
		check_user(c, "auth_user", conf_params(c)->p_auth_user);
	filterprogram_check(c);
	virus_conf_check(c);
	if (bundled_is_on(c, BUNDLED_VIRUS) || bundled_is_on(c, BUNDLED_ATTACHMENTS))
		check_user(c, "filter_user", conf_params(c)->p_filter_user);
}

static enum rc
load(const char *dir, const struct conf *in_force, enum conf_severity rows, struct conf **out, struct err *e)
{
	enum rc rc = conf_load(dir, out, e);
	if (*out == NULL)
		return rc;
	if (in_force != NULL)
		tls_certs_in_force(*out, in_force);
	check_all(*out, rows);
	size_t errors = conf_problem_count(*out, CONF_ERROR);
	if (errors > 0)
		return err_set(e, RC_PERM, "%zu error%s in the configuration in %s", errors, errors == 1 ? "" : "s", dir);
	return rc;
}

enum rc
check_load(const char *dir, struct conf **out, struct err *e)
{
	return load(dir, NULL, CONF_WARNING, out, e);
}

enum rc
check_reload(const char *dir, const struct conf *in_force, struct conf **out, struct err *e)
{
	return load(dir, in_force, CONF_WARNING, out, e);
}

enum rc
check_strictly(const char *dir, struct conf **out, struct err *e)
{
	return load(dir, NULL, CONF_ERROR, out, e);
}

enum rc
check_renewed(struct conf *c, struct err *e)
{
	check_all(c, CONF_WARNING);
	return conf_problem_count(c, CONF_ERROR) == 0 ? RC_OK : err_set(e, RC_PERM, "%s", conf_problem_at(c, 0, CONF_ERROR)->text);
}

static void
print_kind(const struct conf *conf, enum conf_severity severity, const char *word, struct buf *out)
{
	for (size_t i = 0; i < conf_problem_count(conf, severity); i++) {
		const struct conf_problem *p = conf_problem_at(conf, i, severity);
		if (p->file != NULL && p->file[0] != '\0') {
			buf_puts(out, p->file);
			if (p->line > 0)
				buf_printf(out, ":%d", p->line);
			buf_puts(out, ": ");
		}
		buf_puts(out, word);
		buf_puts(out, p->text);
		buf_putc(out, '\n');
	}
}

void
check_print(const struct conf *conf, bool notes, struct buf *out)
{
	if (notes)
		print_kind(conf, CONF_NOTE, "note: ", out);
	print_kind(conf, CONF_WARNING, "warning: ", out);
	check_print_errors(conf, out);
}

void
check_print_errors(const struct conf *conf, struct buf *out)
{
	print_kind(conf, CONF_ERROR, "error: ", out);
}

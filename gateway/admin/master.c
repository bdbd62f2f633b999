/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/master.h"

#include "admin/certs.h"
#include "admin/check.h"
#include "admin/control.h"
#include "admin/images.h"
#include "admin/logfile.h"
#include "admin/procs.h"
#include "admin/status.h"
#include "admin/filewatch.h"
#include "base/log.h"
#include "base/version.h"
#include "base/mem.h"
#include "ipc/jail.h"
#include "ipc/sandbox.h"
#include "map/map.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t QUEUE_WAIT_USEC = 30 * 1000000, QUEUE_RETRY_USEC = 50 * 1000;

struct master {
	const char *dir;
	struct conf *conf;
	struct images images;
	int ready_fd, pid_fd;
	struct listen_set listeners;
	struct procs procs;
	struct control *control;
	struct sigwatch term, intr, hup;
	/* a reload under way */
	struct procs_reload reload;
	struct conf *next_conf;
	struct images next_images;
	struct control_client *reload_client;
	bool reloading, rolling_back;
	/* one because of changed tables */
	struct filewatch tables;
	struct certs_watch certs;
	const char **changed;        /* NULL: one that was asked for */
	size_t nchanged;
	bool reload_waits;           /* asked for meanwhile */
	struct control_client *waiting_client;
	struct control_client *stop_client;
	int exit_status;
};

static struct master ma;

/* ---- directories ---- */

static enum rc
make_dir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct err *e)
{
	char part[4096];
	size_t n = strlen(path);
	if (n == 0 || n >= sizeof part)
		return err_set(e, RC_PERM, "bad directory name");
	for (size_t i = 1; i <= n; i++) { /* parents too: a fresh machine has none of them */
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, i == n ? mode : 0755) != 0) {
			if (errno != EEXIST)
				return err_set(e, RC_PERM, "%s: %s", part, strerror(errno));
		} else if (i == n && (chmod(path, mode) != 0 || (uid != (uid_t)-1 && chown(path, uid, gid) != 0))) {
			return err_set(e, RC_PERM, "%s: %s", path, strerror(errno));
		}
	}
	return RC_OK;
}

static enum rc
make_dirs(const struct conf *conf, struct err *e)
{
	const struct params *p = conf_params(conf);
	struct sandbox queue = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	if (geteuid() == 0 && sandbox_user(&queue, p->p_queue_user, e) != RC_OK)
		return err_prefix(e, "queue_user");
	struct buf spool;
	buf_init(&spool, 4096);
	buf_printf(&spool, "%s/spool", p->p_queue_directory);
	enum rc rc = make_dir(p->p_queue_directory, 0755, (uid_t)-1, (gid_t)-1, e);
	if (rc == RC_OK)
		rc = make_dir(buf_cstr(&spool), 0700, queue.uid, queue.gid, e);
	buf_fini(&spool);
	if (rc == RC_OK)
		rc = make_dir(p->p_data_directory, 0755, (uid_t)-1, (gid_t)-1, e);
	if (rc == RC_OK)
		rc = make_dir(conf_tables_dir(conf), 0755, (uid_t)-1, (gid_t)-1, e);
	return rc;
}

/* One gateway per queue_directory: pid/master.pid is locked for as long as the master lives. */
static enum rc
lock_pid_file(const struct conf *conf, struct err *e)
{
	const struct params *p = conf_params(conf);
	struct buf path;
	buf_init(&path, 4096);
	buf_printf(&path, "%s/pid", p->p_queue_directory);
	enum rc rc = make_dir(buf_cstr(&path), 0755, (uid_t)-1, (gid_t)-1, e);
	buf_puts(&path, "/master.pid");
	if (rc == RC_OK) {
		ma.pid_fd = open(buf_cstr(&path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (ma.pid_fd < 0)
			rc = err_set(e, RC_PERM, "%s: %s", buf_cstr(&path), strerror(errno));
		else if (flock(ma.pid_fd, LOCK_EX | LOCK_NB) != 0)
			rc = err_set(e, RC_PERM, "the Dogana mail system is already running");
	}
	if (rc == RC_OK) {
		char text[32];
		int n = snprintf(text, sizeof text, "%16d\n", (int)getpid());
		if (ftruncate(ma.pid_fd, 0) != 0 || pwrite(ma.pid_fd, text, (size_t)n, 0) != n)
			rc = err_set(e, RC_PERM, "%s: %s", buf_cstr(&path), strerror(errno));
	}
	buf_fini(&path);
	return rc;
}

/* ---- log ---- */

static enum rc
open_log(const struct conf *conf, struct err *e)
{
	enum log_target target;
	enum log_format format;
	int fd;
	enum rc rc = logfile_open(conf, &target, &format, &fd, e);
	if (rc != RC_OK)
		return rc;
	if (ma.procs.log_fd >= 0)
		close(ma.procs.log_fd);
	ma.procs.log_fd = fd;
	ma.procs.log_target = (uint8_t)target;
	ma.procs.log_format = (uint8_t)format;
	log_open(target, fcntl(fd, F_DUPFD_CLOEXEC, 3), format, conf_params(conf)->p_syslog_name, "master");
	return RC_OK;
}

/* ---- reload ---- */

static void
log_problems(const struct conf *conf)
{
	struct buf text;
	buf_init(&text, 1024 * 1024);
	check_print(conf, false, &text);
	struct span rest = buf_span(&text), line;
	while (span_word(&rest, "\n", &line))
		LOG(warning, NULL, F_SPAN(text, line));
	buf_fini(&text);
}

/* Each change that could not be used is said once. */
static void
tables_refused(const char *why)
{
	if (filewatch_refused(&ma.tables, ma.changed, ma.nchanged, why))
		LOG(tables_refused, NULL, F_STR(path, ma.nchanged > 0 ? ma.changed[0] : ""), F_STR(reason, why));
}

static void
end_reload(bool ok, struct span why)
{
	if (!ok && ma.changed == NULL)
		LOG(error, NULL, F_SPAN(text, why));
	mem_free(&ma.changed);
	ma.nchanged = 0;
	control_reply(ma.reload_client, ok, ok ? SPAN_EMPTY : why);
	ma.reload_client = NULL;
	ma.reloading = false;
}

static void on_reloaded(struct procs_reload *r);

/* We have read the keys and passwords of all roles. */
static void
hide_secrets(void)
{
	if (conf_has_secrets(ma.conf, CONF_FOR_LOADER))
		sandbox_hide();
}

static void start_waiting(void);

static void
roll_back(const char *why)
{
	char text[ERR_WHY_MAX + 100];
	snprintf(text, sizeof text, "reload failed, the old configuration stays in force: %s", why);
	if (ma.changed != NULL)
		tables_refused(why);
	end_reload(false, span_str(text));
	conf_unref(&ma.next_conf);
	images_close(&ma.next_images);
	struct err e = { .why = "" };
	struct listen_set old;
	if (listen_open(ma.conf, &ma.listeners, &old, &e) == RC_OK) { /* what was taken away is bound again */
		listen_close(&ma.listeners);
		ma.listeners = old;
	} else {
		log_error(NULL, "%s", e.why);
	}
	if (open_log(ma.conf, &e) != RC_OK)
		log_error(NULL, "%s", e.why);
	ma.rolling_back = true;
	ma.reload = (struct procs_reload){ .done = on_reloaded };
	procs_reload_start(&ma.procs, &ma.reload);
}

static void
on_reloaded(struct procs_reload *r)
{
	if (ma.rolling_back) {
		ma.rolling_back = false;
		procs_trim(&ma.procs);
		start_waiting();
		return;
	}
	if (!r->ok) {
		ma.procs.conf = ma.conf;
		ma.procs.images = &ma.images;
		roll_back(r->why);
		return;
	}
	conf_unref(&ma.conf);
	images_close(&ma.images);
	ma.conf = ma.next_conf;
	hide_secrets();
	ma.images = ma.next_images;
	ma.procs.images = &ma.images;
	images_init(&ma.next_images);
	ma.next_conf = NULL;
	procs_trim(&ma.procs);
	maps_sweep(&ma.conf, 1); /* sessions that began before hold their tables open */
	if (ma.changed != NULL)
		LOG(tables_reload, NULL, F_NUM(count, ma.nchanged));
	else
		LOG(reload, NULL, F_STR(value, DOGANA_VERSION), F_STR(path, ma.dir));
	filewatch_set(&ma.tables, ma.conf);
	end_reload(true, SPAN_EMPTY);
	start_waiting();
}

/* A checked snapshot goes to the roles; on_reloaded() says what became of it. */
static void
hand_out(struct conf *next)
{
	struct err e = { .why = "" };
	struct listen_set sockets;
	struct images images;
	images_init(&images);
	enum rc rc = make_dirs(next, &e);
	if (rc == RC_OK && strcmp(conf_params(next)->p_queue_directory, conf_params(ma.conf)->p_queue_directory) != 0)
		rc = err_set(&e, RC_PERM, "queue_directory can only be changed by stop and start");
	if (rc == RC_OK && strcmp(conf_params(next)->p_quarantine_directory, conf_params(ma.conf)->p_quarantine_directory) != 0)
		rc = err_set(&e, RC_PERM, "quarantine_directory can only be changed by stop and start");
	if (rc == RC_OK)
		rc = images_write(&images, next, &e);
	if (rc == RC_OK)
		rc = listen_open(next, &ma.listeners, &sockets, &e);
	if (rc == RC_OK && (rc = open_log(next, &e)) != RC_OK)
		listen_undo(&sockets, &ma.listeners);
	if (rc != RC_OK) {
		if (ma.changed != NULL)
			tables_refused(e.why);
		end_reload(false, span_str(e.why));
		conf_unref(&next);
		images_close(&images);
		return;
	}
	listen_close(&ma.listeners);
	ma.listeners = sockets;
	ma.next_conf = next;
	ma.next_images = images;
	ma.procs.conf = next;
	ma.procs.images = &ma.next_images;
	ma.reload = (struct procs_reload){ .done = on_reloaded };
	procs_reload_start(&ma.procs, &ma.reload);
}

static void
start_reload(struct control_client *client)
{
	if ((ma.changed != NULL || ma.rolling_back) && !ma.reload_waits && !ma.procs.stopping) { /* only tables: it is soon over */
		ma.reload_waits = true;
		if (client != NULL)
			control_on_gone(client, &ma.waiting_client);
		return;
	}
	if (ma.reloading || ma.rolling_back || ma.procs.stopping) {
		control_reply(client, false, SPAN("a reload or stop is under way"));
		return;
	}
	ma.reloading = true;
	if (client != NULL)
		control_on_gone(client, &ma.reload_client);
	struct err e = { .why = "" };
	struct conf *next = NULL;
	if (check_reload(ma.dir, ma.conf, &next, &e) != RC_OK) {
		struct buf text;
		buf_init(&text, 1024 * 1024);
		buf_puts(&text, "reload refused, the old configuration stays in force: ");
		if (next != NULL) /* what is wrong, first: a log has room for a line */
			check_print_errors(next, &text);
		if (next == NULL || conf_problem_count(next, CONF_ERROR) == 0)
			buf_puts(&text, e.why);
		end_reload(false, span_rtrim(buf_span(&text)));
		buf_fini(&text);
		conf_unref(&next);
		return;
	}
	log_problems(next);
	hand_out(next);
}

static void
start_waiting(void)
{
	struct control_client *client = ma.waiting_client;
	if (!ma.reload_waits || ma.reloading || ma.rolling_back)
		return;
	ma.reload_waits = false;
	ma.waiting_client = NULL;
	start_reload(client);
}

/* ---- changed tables ---- */

static bool
has_problem(const struct conf *c, enum conf_severity severity, const char *text)
{
	for (size_t i = 0; i < conf_problem_count(c, severity); i++)
		if (strcmp(conf_problem_at(c, i, severity)->text, text) == 0)
			return true;
	return false;
}

/* Only what the changed files brought. */
static void
log_new_warnings(const struct conf *next)
{
	for (size_t i = 0; i < conf_problem_count(next, CONF_WARNING); i++) {
		const char *text = conf_problem_at(next, i, CONF_WARNING)->text;
		if (!has_problem(ma.conf, CONF_WARNING, text))
			LOG(warning, NULL, F_STR(text, text));
	}
}

/* Files that were only touched are none. */
static void
drop_same(void)
{
	size_t n = 0;
	for (size_t i = 0; i < ma.nchanged; i++)
		if (conf_file_is_same(ma.conf, ma.changed[i]))
			filewatch_same(&ma.tables, ma.changed[i]);
		else
			ma.changed[n++] = ma.changed[i];
	ma.nchanged = n;
}

/* The settings in force with the changed files; what main.cf says by now is for a reload. */
static void
on_tables_changed(struct filewatch *w)
{
	struct err e = { .why = "" };
	struct conf *next = NULL;
	if (ma.reloading || ma.rolling_back || ma.procs.stopping)
		return; /* offered again */
	ma.nchanged = filewatch_ready(w, &ma.changed);
	drop_same();
	if (ma.nchanged == 0) {
		mem_free(&ma.changed);
		return;
	}
	ma.reloading = true;
	enum rc rc = conf_renew(ma.conf, ma.changed, ma.nchanged, &next, &e);
	if (rc == RC_OK)
		rc = check_renewed(next, &e);
	if (rc != RC_OK) {
		tables_refused(e.why);
		conf_unref(&next);
		end_reload(false, SPAN_EMPTY);
		return;
	}
	log_new_warnings(next);
	hand_out(next);
}

/* ---- requests and signals ---- */

static void
on_all_gone(struct procs *p)
{
	(void)p;
	control_reply(ma.stop_client, true, SPAN_EMPTY);
	loop_stop();
}

static void
start_stop(int signo)
{
	LOG(stop, NULL, F_NUM(count, signo));
	listen_close(&ma.listeners); /* nobody new from now on */
	procs_stop(&ma.procs);
}

/* A request for the queue that came while it was starting (recovering, or restarted after a crash). */
struct queue_request {
	struct control_client *client;   /* NULL when it went away */
	struct timer timer;
	uint64_t until;
	struct buf line;
	struct grave grave;
};

static void
dig_request(struct grave *g)
{
	struct queue_request *r = container_of(g, struct queue_request, grave);
	buf_fini(&r->line);
	mem_free(&r);
}

static bool
to_queue(struct control_client *client, struct span line)
{
	struct proc *q = procs_find(&ma.procs, ROLE_QUEUE, 0);
	if (q == NULL || q->chan == NULL || q->state != PROC_READY)
		return false;
	ipc_send(q->chan, IPC_ADMIN, 0, line, control_take_fd(client));
	return true;
}

static void
on_request_timer(struct timer *t)
{
	struct queue_request *r = container_of(t, struct queue_request, timer);
	if (r->client != NULL && !to_queue(r->client, buf_span(&r->line))) {
		if (loop_now() < r->until && !ma.procs.stopping) {
			timer_set(&r->timer, QUEUE_RETRY_USEC);
			return;
		}
		control_reply(r->client, false, SPAN("the queue is not ready, try again"));
	}
	loop_bury(&r->grave, dig_request);
}

static void
wait_for_queue(struct control_client *client, struct span line)
{
	struct queue_request *r = mem_zalloc(sizeof *r);
	buf_init(&r->line, line.n);
	buf_put(&r->line, line);
	r->until = loop_now() + QUEUE_WAIT_USEC;
	control_on_gone(client, &r->client);
	timer_init(&r->timer, on_request_timer);
	timer_set(&r->timer, QUEUE_RETRY_USEC);
}

static void
on_request(struct control_client *client, struct span line, void *owner)
{
	(void)owner;
	if (span_eq_str(line, "status") || span_eq_str(line, "status json")) {
		status_start(&ma.procs, &ma.listeners, &ma.tables, client, span_eq_str(line, "status json"));
	} else if (span_eq_str(line, "reload")) {
		start_reload(client);
	} else if (span_eq_str(line, "stop") || span_eq_str(line, "abort")) {
		control_on_gone(client, &ma.stop_client);
		if (!ma.procs.stopping)
			start_stop(SIGTERM);
		if (span_eq_str(line, "abort"))
			procs_abort(&ma.procs);
	} else if (span_starts(line, SPAN("queue ")) || span_starts(line, SPAN("quarantine "))) {
		struct buf asked; /* nobody can say that he is somebody else: this word is the first */
		buf_init(&asked, line.n + 64);
		buf_putc(&asked, '@');
		buf_puts(&asked, control_who(client));
		buf_putc(&asked, ' ');
		buf_put(&asked, line);
		if (!to_queue(client, buf_span(&asked)))
			wait_for_queue(client, buf_span(&asked));
		buf_fini(&asked);
	} else {
		control_reply(client, false, SPAN("unknown request"));
	}
}

static void
on_signal(struct sigwatch *s, int signo)
{
	(void)s;
	if (signo == SIGHUP)
		start_reload(NULL);
	else if (!ma.procs.stopping)
		start_stop(signo);
	else
		procs_abort(&ma.procs); /* the second time in earnest */
}

static void
on_all_ready(struct procs *p)
{
	(void)p;
	LOG(start, NULL, F_STR(value, DOGANA_VERSION), F_STR(path, ma.dir));
	if (ma.ready_fd >= 0) {
		(void)!write(ma.ready_fd, "1", 1);
		close(ma.ready_fd);
		ma.ready_fd = -1;
	}
}

static void
on_failed(struct procs *p, const struct proc *pr)
{
	(void)p;
	log_fatal(NULL, "%s: %s", role_name(pr->role), pr->last_error[0] != '\0' ? pr->last_error : "ended while starting");
	if (ma.procs.log_fd != STDERR_FILENO)
		fprintf(stderr, "dogana: fatal: %s: %s\n", role_name(pr->role), pr->last_error);
	ma.exit_status = 1;
	procs_stop(&ma.procs);
}

/* ---- run ---- */

static void
raise_limits(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

static unsigned
worker_count(int64_t wanted)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	return wanted > 0 ? (unsigned)wanted : (unsigned)((cpus > 1 ? cpus : 1) + 1) / 2;
}

static enum rc
prepare(struct err *e)
{
	enum rc rc = make_dirs(ma.conf, e);
	if (rc == RC_OK)
		rc = lock_pid_file(ma.conf, e);
	if (rc == RC_OK)
		rc = images_write(&ma.images, ma.conf, e);
	if (rc == RC_OK)
		rc = listen_open(ma.conf, NULL, &ma.listeners, e);
	if (rc == RC_OK)
		rc = open_log(ma.conf, e);
	if (rc == RC_OK)
		rc = control_open(&ma.control, conf_params(ma.conf)->p_queue_directory, on_request, NULL, e);
	return rc;
}

static void
tear_down(void)
{
	control_close(&ma.control);
	filewatch_stop(&ma.tables);
	certs_watch_stop(&ma.certs);
	mem_free(&ma.changed);
	procs_fini(&ma.procs);
	listen_close(&ma.listeners);
	conf_unref(&ma.conf);
	conf_unref(&ma.next_conf);
	images_close(&ma.images);
	images_close(&ma.next_images);
	if (ma.pid_fd >= 0)
		close(ma.pid_fd);
	log_flush();
}

static void
print_problems(const struct conf *conf)
{
	struct buf text;
	buf_init(&text, 1024 * 1024);
	check_print(conf, false, &text);
	if (buf_len(&text) > 0)
		fwrite(buf_span(&text).p, 1, buf_len(&text), stderr);
	buf_fini(&text);
}

int
master_run(const char *dir, const char *program, int ready_fd)
{
	struct err e = { .why = "" };
	ma = (struct master){ .dir = dir, .ready_fd = ready_fd, .pid_fd = -1 };
	images_init(&ma.images);
	images_init(&ma.next_images);
	ma.procs.log_fd = -1;
	enum rc rc = check_load(dir, &ma.conf, &e);
	if (ma.conf != NULL)
		print_problems(ma.conf);
	if (rc != RC_OK) {
		fprintf(stderr, "dogana: fatal: %s\n", e.why);
		conf_unref(&ma.conf);
		return 1;
	}
	hide_secrets();
	signal(SIGPIPE, SIG_IGN);
	raise_limits();
	loop_init();
	rc = prepare(&e);
	if (rc != RC_OK) {
		fprintf(stderr, "dogana: fatal: %s\n", e.why);
		tear_down();
		loop_fini();
		return 1;
	}
	if (geteuid() != 0)
		log_info(NULL, "started as an ordinary user: roles share this user, and none changes its root directory");
	const char *lacks = jail_lacks();
	if (lacks != NULL)
		log_warn(NULL, "%s", lacks);
	sigwatch_init(&ma.term, SIGTERM, on_signal);
	sigwatch_init(&ma.intr, SIGINT, on_signal);
	sigwatch_init(&ma.hup, SIGHUP, on_signal);
	struct procs *p = &ma.procs;
	p->program = program;
	p->conf = ma.conf;
	p->images = &ma.images;
	p->listeners = &ma.listeners;
	p->all_ready = on_all_ready;
	p->failed = on_failed;
	p->all_gone = on_all_gone;
	filewatch_set(&ma.tables, ma.conf);
	filewatch_start(&ma.tables, on_tables_changed);
	certs_watch_start(&ma.certs, &ma.conf);
	procs_start(p, worker_count(conf_params(ma.conf)->p_edge_workers), worker_count(conf_params(ma.conf)->p_relay_workers));
	loop_run();
	tear_down();
	sigwatch_clear(&ma.term);
	sigwatch_clear(&ma.intr);
	sigwatch_clear(&ma.hup);
	loop_fini();
	return ma.exit_status;
}

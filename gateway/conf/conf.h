/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.h - an immutable snapshot of the configuration: main.cf, conf.d, master.cf and every file
 * they name.
 *
 * The master (and every command) loads a snapshot from a directory; the other roles get it as an
 * image, a sealed memory file, and never open a configuration file themselves. A session holds a
 * reference on the snapshot it began with; reload makes a new one. Every parameter is a row of
 * params.def; a row's field in struct params holds its value, expanded and range-checked.
 * Facts sections 1, 2 and 14.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/buf.h"

/* C types of the row types. A string is never NULL; it lives as long as the snapshot. */
typedef bool conf_BOOL;
typedef int64_t conf_INT;
typedef uint64_t conf_TIME;      /* microseconds */
typedef const char *conf_STR;    /* $-expanded, trimmed */
typedef const char *conf_LIST;   /* as STR: items by comma or white space, { } groups */
typedef const char *conf_RAW;    /* not expanded: has its own later expansion */

struct params {
#define PARAM(name, type, def, min, max, flags, doc) conf_##type p_##name;
#include "conf/params.def"
#undef PARAM
};

/* What a program named in master.cf becomes here; rows in services.def. */
enum service_kind {
	SERVICE_UNKNOWN,     /* no row: an error unless nothing uses it           */
	SERVICE_LISTENER,    /* smtpd, postscreen                                 */
	SERVICE_TRANSPORT,   /* smtp, lmtp, error, discard: command says which    */
	SERVICE_BUILTIN,     /* part of the program: the line has no effect       */
	SERVICE_UNSUPPORTED, /* Postfix has it, we do not                         */
};

/* One line of master.cf. */
struct service {
	const char *name, *type;         /* "smtp", "inet" */
	bool is_private, unprivileged, chroot;
	int wakeup, maxproc;             /* seconds; 0 = none, no limit; -1 = the default */
	const char *command;             /* "smtpd" */
	enum service_kind kind;
	const char *const *args;         /* NULL-terminated, without -o settings */
	const struct params *params;     /* main.cf with this service's -o settings */
	const char *file;                /* where it stands, for messages; "" for built-in defaults */
	int line;
	bool disabled;                   /* by master_service_disable; not a service then */
};

struct conf;

/* A problem found while loading or checking; printed as "file:line: text" (line 0: not shown). */
enum conf_severity {
	CONF_WARNING,
	CONF_ERROR,
	CONF_NOTE, /* true and harmless: "has no effect here" */
};
struct conf_problem {
	enum conf_severity severity;
	const char *file;
	int line;
	const char *text;
};

/* ---- making a snapshot ---- */

/* The release whose defaults we follow, as compatibility_level counts. */
#define CONF_LEVEL "3.10"

/* Reads DIR. In the conf.d form (no main.cf) compatibility_level is the release's own
 * unless set: such a directory was never an old Postfix's. Problems are kept in the snapshot; RC_PERM when at least one is an
 * error, and then *out is still given (for its problems) unless NULL. Reference count 1. */
enum rc conf_load(const char *dir, struct conf **out, struct err *e) MUST_CHECK;
/* The same with settings on top, "name=value" each (postconf -o); NULL-terminated. */
enum rc conf_load_with(const char *dir, const char *const *overrides, struct conf **out, struct err *e) MUST_CHECK;

struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf **cp);

/* Whom a secret file is for, and for whom an image is: bits. */
enum conf_audience {
	CONF_FOR_ALL = 0,            /* an image without any secret */
	CONF_FOR_KEYS = 1,
	CONF_FOR_RELAY = 2,
	CONF_FOR_AUTH = 4,
	CONF_FOR_LOADER = 7,         /* all of them: conf_has_secrets() */
};

/* Image for the other roles: a sealed memfd (close-on-exec, given to the caller), and the way back (fd is
 * borrowed). The image also holds every file read through conf_file(), every name given to conf_attach(), and the secret
 * files that are for this audience; the one for CONF_FOR_KEYS holds no other files. */
enum rc conf_image_write(const struct conf *c, unsigned audience, int *fd_out, struct err *e) MUST_CHECK;
enum rc conf_image_read(int fd, struct conf **out, struct err *e) MUST_CHECK;

/* ---- reading it ---- */

const char *conf_directory(const struct conf *c);
const struct params *conf_params(const struct conf *c);
size_t conf_service_count(const struct conf *c);
const struct service *conf_service(const struct conf *c, size_t row);
/* NULL if there is none, or it is disabled. */
const struct service *conf_service_find(const struct conf *c, const char *name, const char *type);

/* Any parameter by name, also user-defined ones and per-transport ones: its expanded value in the
 * view of a service (NULL: main.cf), or NULL when the name is unknown and not set. */
const char *conf_value(const struct conf *c, const struct service *s, const char *name);
/* The same for a TIME or INT parameter of params.def when the stress parameter says "yes" (Postfix's ${stress?{10}:{300}}):
 * microseconds, or the number. */
int64_t conf_stressed(const struct conf *c, const struct service *s, const char *name);
/* Where the value in force stands. false: nowhere, it is the default. */
bool conf_position(const struct conf *c, const struct service *s, const char *name, const char **file_out, int *line_out);

/* Our own addresses as inet_interfaces and inet_protocols leave them, found when the snapshot was loaded:
 * "127.0.0.1 192.0.2.1 ::1", separated by one space. proxy_interfaces are not among them. */
const char *conf_own_addresses(const struct conf *c);

/* Per-transport parameters (facts 7.4): T_suffix when set, otherwise default_suffix. suffix without
 * the leading underscore: "destination_concurrency_limit". */
int64_t conf_transport_int(const struct conf *c, const char *transport, const char *suffix);
uint64_t conf_transport_time(const struct conf *c, const char *transport, const char *suffix);
const char *conf_transport_str(const struct conf *c, const char *transport, const char *suffix);

/* Contents of a file named in the configuration (tables, /file match lists), relative names below
 * conf_directory(). While loading it is read from disk once and kept for the image; in a role it comes
 * from the image. Lives as long as the snapshot. RC_TEMP: cannot be read. */
enum rc conf_file(struct conf *c, const char *path, struct span *out, struct err *e) MUST_CHECK;
/* The same for a file that others than the administrator may write (:include: lists): read with the rights of
 * default_privs, so that it cannot be a link to what only root may read. */
enum rc conf_file_of_user(struct conf *c, const char *path, struct span *out, struct err *e) MUST_CHECK;

/* The same for a file that holds passwords or private keys: its contents are only in the images for its audience (bits; what
 * several calls say adds up), and are wiped with the snapshot. RC_NONE: not for this role. A file may also be read
 * through conf_file(), and is no secret then. Copies of the contents are the caller's to wipe: buf_init_secret(). */
enum rc conf_file_secret(struct conf *c, const char *path, unsigned audience, struct span *out, struct err *e) MUST_CHECK;
bool conf_has_secrets(const struct conf *c, unsigned audience);
/* Those that could be read, in no order; path: full. */
void conf_secrets_each(const struct conf *c, unsigned audience, void (*fn)(void *arg, const char *path, struct span data), void *arg);
/* Loader: a warning when others than its owner may read a file, by these bits of its mode (0077, 0007); name: the parameter, or NULL. */
void conf_warn_readable(struct conf *c, const char *name, const char *path, unsigned bits);
/* A name as conf_file() knows it: relative ones below conf_directory(). Lives as long as the snapshot. */
const char *conf_full_path(struct conf *c, const char *path);

/* ---- which version of each file a snapshot has ---- */

/* All zero: not there. ctime counts where a file that could not be used may have become usable. */
struct conf_version {
	uint64_t dev, ino, size, mtime_nsec, ctime_nsec;
};
struct conf_version conf_version_now(const char *path);
bool conf_version_same(const struct conf_version *a, const struct conf_version *b);
/* Loader: notes which version of a file was read; conf_file() does that for its own. path: full. */
void conf_watch(struct conf *c, const char *path, const struct conf_version *v);
/* The version that this snapshot has; false: it has nothing to do with that file. */
bool conf_watched(const struct conf *c, const char *path, struct conf_version *out);
void conf_watched_each(const struct conf *c, void (*fn)(void *arg, const char *path, const struct conf_version *v), void *arg);
/* Kept by conf_file(), and the file has the same octets now. */
bool conf_file_is_same(const struct conf *c, const char *path);
/* A new snapshot with the settings and services of old, whatever main.cf says by now, and all files but the changed
 * ones (full paths); those are read anew when they are asked for. To be checked as one that conf_load() made. */
enum rc conf_renew(const struct conf *old, const char *const *changed, size_t n, struct conf **out, struct err *e) MUST_CHECK;

/* A note kept for the image under a key: what a table type must hand to the roles (for a compiled
 * table: its file name below conf_tables_dir). conf_attached gives NULL when there is none. */
void conf_attach(struct conf *c, const char *key, const char *value);
const char *conf_attached(const struct conf *c, const char *key);
/* Notes whose key begins with prefix, in no order. */
void conf_attached_each(const struct conf *c, const char *prefix, void (*fn)(void *arg, const char *key, const char *value), void *arg);
/* Directory of compiled tables: data_directory/tables, or "/" after a chroot to it (set by the role). */
const char *conf_tables_dir(const struct conf *c);
void conf_set_tables_dir(struct conf *c, const char *dir);

/* True in the process that loads from disk (commands, master), false in a role. */
bool conf_is_loader(const struct conf *c);

/* ---- problems ---- */

/* Adds what the table of parameters and services knows: set but not supported, unused, undefined, services
 * that cannot run, transports that do not exist. Restrictions and tables are looked at by policy/ and map/. */
void conf_check_params(struct conf *c);

/* Adds one (any layer, while checking); name: the parameter it concerns (gives file and line), or NULL. */
void conf_problem(struct conf *c, enum conf_severity sev, const struct service *s, const char *name, const char *fmt, ...) PRINTF(5, 6);
size_t conf_problem_count(const struct conf *c, enum conf_severity sev);
const struct conf_problem *conf_problem_at(const struct conf *c, size_t i, enum conf_severity sev);

/* ---- small syntax shared by all who read lists ---- */

/* Next item of a list: separators are comma and white space; a { ... } group is one item, braces
 * removed and ends trimmed (facts 1.3). RC_OK, RC_NONE at the end, RC_PERM for unbalanced braces. */
enum rc conf_item(struct span *rest, struct span *item_out, bool *was_group_out);
/* The settings behind a server or a name: items "name=value" or { name = value }, each given to take(), trimmed. RC_PERM: the first that is
 * none or that take() does not want, with its name in front of the reason. */
enum rc conf_settings(struct span text, enum rc (*take)(void *owner, struct span name, struct span value, struct err *e), void *owner, struct err *e) MUST_CHECK;
/* One of them that is a time: of a second at least; a bare number is seconds. */
enum rc conf_setting_time(struct span value, uint64_t *usec, struct err *e) MUST_CHECK;
/* One of the items of a list is this name, in this case. */
bool conf_has_item(const char *list, const char *name);
/* Logical lines of any Postfix text file (facts 1.1): comments and blanks dropped, continuations joined
 * in buf. RC_NONE at the end. lineno_out: number of the first physical line. Start with { .rest = text }. */
struct conf_lines {
	struct span rest;
	int at;           /* physical lines read so far */
	int stray_line;   /* the last continuation with nothing before it (dropped), 0: none */
	struct conf_joint {
		size_t offset; /* in line_out */
		int line;
	} joints[64];     /* where the physical lines of the current logical line begin */
	unsigned njoints;
	int nul_line;     /* the last line with a NUL byte (the rest is dropped), 0: none */
};
enum rc conf_lines_next(struct conf_lines *it, struct buf *line_out, int *lineno_out);
/* Number of the physical line that the byte at this offset of line_out came from. */
int conf_lines_at(const struct conf_lines *it, size_t offset);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snap.h - the inside of a snapshot; for files of conf/ only.
 *
 * All text lives in the arena and goes with the snapshot. A snapshot is written by its loader (load.c,
 * image.c), then only read; what grows later (memo, files, notes, problems) never changes a value.
 */
#ifndef CONF_SNAP_H
#define CONF_SNAP_H

#include "base/arena.h"
#include "base/htab.h"
#include "conf/conf.h"
#include "conf/expand.h"
#include "conf/param.h"

/* name = text, from a file, from -o of a service, or from the command line. */
struct setting {
	struct hnode node;          /* in conf.settings, by name */
	const char *name;
	const char *text;           /* as written, trimmed */
	const char *value;          /* what counts: text, or what the file it names says (myorigin) */
	const char *file;
	int line;
};

struct svc {
	struct service pub;
	char chroot;                /* 'y', 'n', or '-' */
	char private_field, unprivileged_field; /* the same; loader only */
	bool wakeup_if_used;        /* "300?" */
	struct setting *sets;       /* the -o settings, in order */
	size_t nset;
	const char *flags;          /* "-v -D" as given, "" for none */
};

_Static_assert(offsetof(struct svc, pub) == 0, "svc_of() relies on it");
static inline const struct svc *
svc_of(const struct service *s)
{
	return (const struct svc *)(const void *)s;
}

/* A file or a note kept under a name. */
struct keep {
	struct hnode node;
	const char *key;
	struct span data;
	enum rc rc;                 /* RC_TEMP: could not be read, data is the reason */
	bool owns_data;             /* on the heap, not in the image */
	unsigned audience;          /* of secrets */
	struct conf_version version; /* of watched files */
};

/* An expanded value that is not a string field of struct params. */
struct memo {
	struct hnode node;
	const struct svc *svc;
	const char *name, *value;
};

struct problem_list {
	struct conf_problem *rows;
	size_t n, cap;
};

enum { SNAP_MAGIC = 0x5a9c0f16, CONF_FILE_MAX = 256 << 20 };

struct conf {
	unsigned magic;
	int refs;
	bool loader;
	bool has_main;              /* main.cf exists */
	struct arena arena;
	const char *dir;
	const char *main_file;      /* named in messages about what is set nowhere */
	struct htab settings;
	struct setting **list;      /* the same, in order of first appearance */
	size_t nset, set_cap;
	size_t syntax_errors;       /* problems that were found while reading the files */
	struct setting computed[16]; /* defaults that depend on the machine and the directory */
	size_t ncomputed;
	struct svc **svcs;          /* in file order */
	size_t nsvc;
	struct svc **enabled;       /* those that are not disabled */
	size_t nenabled;
	size_t nlisted, nlisted_enabled; /* of svcs and of enabled: without the transports of the program itself, which come last */
	struct params params;
	const char *own_addresses;
	const char *tables_dir;
	struct problem_list problems[3];
	struct htab files, secrets, notes, watched, memos;
	void *map;                  /* the image the kept files lie in, NULL in the loader */
	size_t map_len;
};

/* Where a name is looked up. */
struct view {
	const struct conf *c;
	const struct svc *svc;      /* NULL: main.cf */
	bool hides_settings;        /* defaults only (postconf -d) */
	bool is_stressed;           /* stress = yes, whatever is set */
	bool used_service;          /* set by a lookup of something that differs by service */
};

struct keep *keep_find(const struct htab *t, const char *key);
struct keep *keep_add(struct conf *c, struct htab *t, const char *key);
struct conf *snap_new(const char *dir);
const char *snap_str(struct conf *c, struct span s);
/* An existing setting of that name is replaced and returned through old_out (NULL: none). */
void snap_set(struct conf *c, struct setting s, struct setting *old_out);
const struct setting *snap_setting(const struct conf *c, const struct svc *svc, struct span name);
void snap_compute(struct conf *c, const char *name, const char *value);
struct svc *snap_svc_add(struct conf *c);
/* As conf_problem() with the place given. */
void snap_problem(struct conf *c, enum conf_severity sev, const char *file, int line, const char *fmt, ...) PRINTF(5, 6);

/* Unexpanded text of a name in a view; expand_lookup_fn, arg: struct view. */
bool snap_lookup(void *arg, struct span name, struct span *raw_out);
/* Unexpanded default, computed ones and per-transport ones included; false when the name has none. */
bool snap_default(const struct conf *c, const struct svc *svc, struct span name, struct span *raw_out);
/* Expands and trims into the arena. */
enum rc snap_expand(struct view *v, struct span raw, const char **out, struct err *e) MUST_CHECK;
/* Fills c->params and every service's; adds problems for bad values. */
void snap_fill(struct conf *c);
/* "<transport>_<suffix>": gives the length of the transport part and the name of its default, or 0. */
size_t snap_transport_suffix(struct span name, const char **default_name_out);
/* Does <name of the service>_<suffix> mean anything? */
bool snap_has_suffix(const struct service *s, struct span suffix);
/* The suffixes in turn; NULL behind the last. */
const char *snap_suffix_at(size_t i);

/* ---- reading files (load.c, master.c, net.c) ---- */
enum rc snap_read_file(const char *path, size_t max, struct buf *out, struct err *e) MUST_CHECK;
/* The same; version_out is that of what was read, or of what could not be. */
enum rc snap_read_version(const char *path, const char *user, size_t max, struct buf *out, struct conf_version *version_out, struct err *e) MUST_CHECK;
/* A file that was read and is no table: its changes are nobody's business. */
void snap_unwatch(struct conf *c, const char *path);
struct stat;
struct conf_version snap_version(const struct stat *st);
/* name = value lines into settings; problems are recorded. */
void snap_parse_main(struct conf *c, const char *file, struct span text);
void snap_parse_master(struct conf *c, const char *file, struct span text);
/* The transports that are part of the program (smtp, relay, lmtp, error, retry, discard), where master.cf does
 * not define them. */
void snap_add_transports(struct conf *c);
extern const char snap_default_master[];
/* Adds problems for names that nothing uses or defines: main.cf's, and master.cf's. */
void snap_check_main_names(struct conf *c);
void snap_check_service_names(struct conf *c);
/* A parameter of ours, or a per-transport one. */
bool snap_is_known(struct conf *c, struct span name);
/* A user-defined name that no value mentions. */
bool snap_is_unused(struct conf *c, struct span name);
enum service_kind service_kind_of(const char *program, const char **doc_out);
/* After main.cf: chroot and disabled, which depend on parameters. */
void snap_settle_services(struct conf *c);
/* host name, domain, own addresses, mynetworks. */
void snap_compute_process(struct conf *c);
void snap_compute_names(struct conf *c);
void snap_compute_networks(struct conf *c);

#endif

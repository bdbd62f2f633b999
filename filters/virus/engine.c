/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/engine.h"

#include "base/clock.h"
#include "base/mem.h"
#include "filters/signed_content.h"
#include "filters/virus/tmpfiles.h"
#include "filters/zip_layout.h"

#include <clamav.h>
#include <dirent.h>
#include <errno.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct engine {
	struct cl_engine *cl;
	struct cl_scan_options options;
	unsigned scan_msec;          /* as the engine has it */
	uint64_t max_file_size;
};

enum { SIGNED_MAX = 8, SIGNED_DEPTH = 3 };

/* Ways of packing in ZIP that libclamav knows. */
#define ZIP_KNOWN                                                                                                                           \
	(UINT64_C(1) << ZIP_STORED | UINT64_C(1) << ZIP_IMPLODED | UINT64_C(1) << ZIP_DEFLATE | UINT64_C(1) << ZIP_DEFLATE64 | UINT64_C(1) << ZIP_BZIP2)

/* During a scan: what libclamav leaves out without a word. */
struct seen {
	uint64_t max_file_size;
	bool is_cut;                 /* what is too large in an archive */
	const char *doubt;           /* about a ZIP */
	struct buf content[SIGNED_MAX]; /* what is inside a signature, in pieces */
	unsigned ncontents;
	bool has_more;
};

static cl_error_t
on_member(const char *container, unsigned long container_size, const char *name, unsigned long size, int is_encrypted, unsigned position, void *context)
{
	struct seen *seen = context;
	(void)container, (void)container_size, (void)name, (void)is_encrypted, (void)position;
	if (seen != NULL && size > seen->max_file_size)
		seen->is_cut = true;
	return CL_CLEAN;
}

static void
look_inside(struct seen *seen, struct span file)
{
	bool is_zip = zip_is_one(file);
	if (is_zip && seen->doubt == NULL)
		seen->doubt = zip_doubt(file, ZIP_KNOWN);
	if (is_zip || file.n < 2 || file.p[0] != 0x30)
		return;
	struct buf content;
	buf_init(&content, file.n + 1);
	enum rc rc = signed_content(file, &content);
	if (rc == RC_OK && seen->ncontents < SIGNED_MAX) {
		seen->content[seen->ncontents++] = content;
		return;
	}
	seen->has_more |= rc == RC_OK;
	buf_fini(&content);
}

static cl_error_t
on_file(int fd, const char *type, const char **ancestors, size_t parent_size, const char *name, size_t size, const char *data, uint32_t level,
    uint32_t attributes, void *context)
{
	struct seen *seen = context;
	(void)fd, (void)type, (void)ancestors, (void)parent_size, (void)name, (void)level, (void)attributes;
	if (seen == NULL)
		return CL_CLEAN;
	if (size >= seen->max_file_size)
		seen->is_cut = true;
	if (data != NULL)
		look_inside(seen, span_of(data, size));
	return CL_CLEAN;
}

/* ---- load ---- */

static enum rc
set_limits(const struct virus_conf *c, struct cl_engine *cl, struct err *e)
{
	const struct {
		enum cl_engine_field field;
		long long value;
	} rows[] = {
		{ CL_ENGINE_MAX_SCANSIZE, (long long)c->max_scan_size },
		{ CL_ENGINE_MAX_FILESIZE, (long long)c->max_file_size },
		{ CL_ENGINE_MAX_RECURSION, c->max_recursion },
		{ CL_ENGINE_MAX_FILES, c->max_files },
		{ CL_ENGINE_MAX_SCANTIME, (long long)(c->scan_usec / 1000) },
		{ CL_ENGINE_DISABLE_CACHE, 1 }, /* of clean files: verdicts of whole messages are kept, and the hashes cost time */
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (cl_engine_set_num(cl, rows[i].field, rows[i].value) != CL_SUCCESS)
			return err_set(e, RC_PERM, "libclamav does not take limit %d", (int)rows[i].field);
	return cl_engine_set_str(cl, CL_ENGINE_TMPDIR, TMPFILES_ROOT) == CL_SUCCESS ? RC_OK : err_set(e, RC_PERM, "libclamav does not take a directory");
}

static void
silent(enum cl_msg severity, const char *full, const char *msg, void *context)
{
	(void)severity, (void)full, (void)msg, (void)context;
}

static void
set_options(const struct virus_conf *c, struct cl_scan_options *o)
{
	*o = (struct cl_scan_options){ .general = CL_SCAN_GENERAL_HEURISTICS, .parse = ~UINT32_C(0), .heuristic = CL_SCAN_HEURISTIC_EXCEEDS_MAX };
	if (c->encrypted != VIRUS_ACCEPT)
		o->heuristic |= CL_SCAN_HEURISTIC_ENCRYPTED_ARCHIVE | CL_SCAN_HEURISTIC_ENCRYPTED_DOC;
	if (c->macro != VIRUS_ACCEPT)
		o->heuristic |= CL_SCAN_HEURISTIC_MACROS;
}

static void
set_version(const char *database, const struct cl_engine *cl, struct virus_version *out)
{
	int err;
	long long number = cl_engine_get_num(cl, CL_ENGINE_DB_VERSION, &err);
	snprintf(out->engine, sizeof out->engine, "ClamAV %.40s", cl_retver());
	if (err == CL_SUCCESS && number > 0)
		snprintf(out->signatures, sizeof out->signatures, "%lld", number);
	else /* signatures of one's own have no number */
		snprintf(out->signatures, sizeof out->signatures, "%08x", (unsigned)database_look(database));
}

static bool
ends_in(const char *name, const char *const *ends, size_t nends)
{
	size_t n = strlen(name);
	for (size_t i = 0; i < nends; i++)
		if (n > strlen(ends[i]) && strcasecmp(name + n - strlen(ends[i]), ends[i]) == 0)
			return true;
	return false;
}

/* What a database can find. libclamav looks for links in every text, and through everything for fixed strings, also when it has nothing to
 * compare them with: half of its work for a plain message. */
struct kinds {
	bool links;                  /* in mail; no other rule about them is switched on, see set_options() */
	bool strings;                /* everything that is not the hash of a file */
};

static void
add_kinds(const char *name, struct kinds *k)
{
	static const char *const links[] = { ".pdb", ".gdb", ".cvd", ".cld", ".cud" }; /* the last three are containers */
	static const char *const hashes[] = { ".hdb", ".hsb", ".hdu", ".hsu", ".mdb", ".msb", ".mdu", ".msu", ".fp", ".sfp", ".pdb", ".gdb", ".wdb" };
	k->links = k->links || ends_in(name, links, NELEMS(links));
	k->strings = k->strings || !ends_in(name, hashes, NELEMS(hashes));
}

static struct kinds
kinds_of(const char *path)
{
	struct kinds k = { .links = false };
	DIR *d = opendir(path);
	if (d == NULL && errno == ENOTDIR)
		add_kinds(path, &k);
	else if (d == NULL)
		k = (struct kinds){ .links = true, .strings = true };
	for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.')
			add_kinds(e->d_name, &k);
	if (d != NULL)
		closedir(d);
	return k;
}

enum rc
engine_load(const struct virus_conf *c, struct engine **out, struct virus_version *version, struct err *e)
{
	static bool is_begun;
	unsigned signatures = 0;
	if (!is_begun && cl_init(CL_INIT_DEFAULT) != CL_SUCCESS)
		return err_set(e, RC_PERM, "libclamav cannot be used");
	is_begun = true;
	cl_set_clcb_msg(silent);
	struct cl_engine *cl = cl_engine_new();
	if (cl == NULL)
		return err_set(e, RC_TEMP, "libclamav has no memory");
	enum rc rc = set_limits(c, cl, e);
	cl_error_t r = CL_SUCCESS;
	struct kinds has = kinds_of(c->database);
	unsigned options = has.links ? CL_DB_STDOPT : CL_DB_STDOPT & ~(unsigned)CL_DB_PHISHING_URLS;
	if (rc == RC_OK && !has.strings && cl_engine_set_num(cl, CL_ENGINE_AC_ONLY, 1) != CL_SUCCESS)
		rc = err_set(e, RC_PERM, "libclamav does not take the way it compares strings");
	if (rc == RC_OK && ((r = cl_load(c->database, cl, &signatures, options)) != CL_SUCCESS || (r = cl_engine_compile(cl)) != CL_SUCCESS))
		rc = err_set(e, RC_TEMP, "%s: %s", c->database, cl_strerror(r));
	if (rc == RC_OK && signatures == 0)
		rc = err_set(e, RC_TEMP, "%s: there are no signatures", c->database);
	if (rc != RC_OK) {
		(void)cl_engine_free(cl);
		return rc;
	}
	cl_engine_set_clcb_meta(cl, on_member);
	cl_engine_set_clcb_file_inspection(cl, on_file);
	struct engine *en = mem_zalloc(sizeof *en);
	en->cl = cl;
	en->max_file_size = c->max_file_size;
	en->scan_msec = (unsigned)(c->scan_usec / 1000);
	set_options(c, &en->options);
	set_version(c->database, cl, version);
	*out = en;
	return RC_OK;
}

/* ---- scan ---- */

static bool
is_limit(cl_error_t r)
{
	return r == CL_EMAXREC || r == CL_EMAXSIZE || r == CL_EMAXFILES || r == CL_ETIMEOUT;
}

static const char *
left_out(const struct seen *seen)
{
	if (seen->is_cut)
		return "a file in it is larger than virus_max_file_size";
	return seen->doubt != NULL ? seen->doubt : seen->has_more ? "too many signed messages in it" : NULL;
}

static enum rc
scan_octets(struct engine *en, struct span octets, uint64_t left_usec, struct seen *seen, struct virus_verdict *out, struct err *e)
{
	const char *name = NULL;
	unsigned long scanned = 0;
	unsigned msec = (unsigned)(left_usec / 1000);
	if (msec != en->scan_msec && cl_engine_set_num(en->cl, CL_ENGINE_MAX_SCANTIME, msec > 0 ? msec : 1) == CL_SUCCESS)
		en->scan_msec = msec;
	cl_fmap_t *map = cl_fmap_open_memory(octets.p, octets.n);
	if (map == NULL)
		return err_set(e, RC_TEMP, "libclamav does not take the message");
	cl_error_t r = cl_scanmap_callback(map, NULL, &name, &scanned, en->cl, &en->options, seen);
	if (r == CL_VIRUS)
		*out = virus_verdict_of(span_str(name)); /* the name is the engine's or the map's: before that is closed */
	cl_fmap_close(map);
	tmpfiles_reset();
	if (r == CL_VIRUS)
		return RC_OK;
	if (r == CL_CLEAN && left_out(seen) != NULL) {
		*out = virus_verdict_why(VIRUS_LIMITS, left_out(seen));
		return RC_OK;
	}
	if (r == CL_CLEAN) {
		*out = (struct virus_verdict){ .kind = VIRUS_CLEAN };
		return RC_OK;
	}
	if (is_limit(r)) {
		*out = virus_verdict_why(VIRUS_LIMITS, cl_strerror(r));
		return RC_OK;
	}
	return err_set(e, RC_TEMP, "libclamav: %s", cl_strerror(r));
}

/* What is in signatures of octets, after the octets. */
static enum rc
scan_all(struct engine *en, struct span octets, uint64_t until, unsigned depth, struct virus_verdict *out, struct err *e)
{
	struct seen seen = { .max_file_size = en->max_file_size };
	uint64_t now = clock_mono();
	enum rc rc = scan_octets(en, octets, now < until ? until - now : 0, &seen, out, e);
	for (unsigned i = 0; i < seen.ncontents; i++) {
		struct virus_verdict v = { .kind = VIRUS_CLEAN };
		if (rc == RC_OK && out->kind != VIRUS_FOUND && buf_len(&seen.content[i]) > 0) {
			if (depth == SIGNED_DEPTH)
				v = virus_verdict_why(VIRUS_LIMITS, "signed messages are nested too deep");
			else
				rc = scan_all(en, buf_span(&seen.content[i]), until, depth + 1, &v, e);
			if (rc == RC_OK && (out->kind == VIRUS_CLEAN || v.kind == VIRUS_FOUND))
				*out = v;
		}
		buf_fini(&seen.content[i]);
	}
	return rc;
}

enum rc
engine_scan(struct engine *en, struct span octets, uint64_t left_usec, struct virus_verdict *out, struct err *e)
{
	*out = (struct virus_verdict){ .kind = VIRUS_CLEAN };
	return octets.n > 0 ? scan_all(en, octets, clock_mono() + left_usec, 0, out, e) : RC_OK;
}

/* ---- database ---- */

static uint64_t
mix(uint64_t h, uint64_t v)
{
	h ^= v + UINT64_C(0x9e3779b97f4a7c15) + (h << 6) + (h >> 2);
	return h * UINT64_C(0xff51afd7ed558ccd);
}

/* The same in every process: no key. */
static uint64_t
look_at(const char *name, const struct stat *st)
{
	uint64_t h = 1469598103934665603u;
	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 1099511628211u;
	h = mix(mix(h, st->st_ino), (uint64_t)st->st_size);
	return mix(mix(h, (uint64_t)st->st_mtim.tv_sec), (uint64_t)st->st_mtim.tv_nsec);
}

uint64_t
database_look(const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return look_at("", &st) | 1;
	DIR *d = opendir(path);
	uint64_t sum = 0;
	for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) && strcmp(e->d_name, "freshclam.dat") != 0)
			sum += look_at(e->d_name, &st);
	if (d != NULL)
		closedir(d);
	return sum != 0 ? sum | 1 : 0;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* What clamd says: clean is one text only, and no name has anything in it that a header, a reply or a terminal would mind. */
#include "filters/virus/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
is_plain(const char *s, const char *also)
{
	for (; *s != '\0'; s++)
		BUG_ON(!((*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || strchr(also, *s) != NULL));
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct virus_verdict v = { .kind = VIRUS_CLEAN };
	struct virus_version version = { .engine = "" };
	struct err e = { .why = "" };
	struct span in = span_of(p, n);
	enum rc rc = clamd_reply(in, &v, &e);
	BUG_ON(rc != RC_OK && rc != RC_TEMP);
	BUG_ON((rc == RC_OK && v.kind == VIRUS_CLEAN) != span_eq_str(in, "stream: OK"));
	BUG_ON(rc == RC_OK && v.kind != VIRUS_CLEAN && v.name[0] == '\0');
	BUG_ON(v.kind == VIRUS_UNSCANNED || v.kind == VIRUS_ASIDE);
	is_plain(v.name, " .,;-_/:+@!");
	if (clamd_version(in, &version) == RC_OK) {
		is_plain(version.engine, " .-_:+");
		is_plain(version.signatures, " .-/:+");
	}
	return 0;
}

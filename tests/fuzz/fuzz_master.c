/* SPDX-License-Identifier: BSD-2-Clause */
/* master.cf text. Property: a service that was accepted, printed as postconf -M and -Mf do, reads back the same. */
#include "conf/snap.h"
#include "conf/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool
same(const struct svc *a, const struct svc *b)
{
	bool yes = strcmp(a->pub.name, b->pub.name) == 0 && strcmp(a->pub.type, b->pub.type) == 0 && strcmp(a->pub.command, b->pub.command) == 0 &&
	           a->private_field == b->private_field && a->unprivileged_field == b->unprivileged_field && a->chroot == b->chroot &&
	           a->pub.wakeup == b->pub.wakeup && a->wakeup_if_used == b->wakeup_if_used && a->pub.maxproc == b->pub.maxproc &&
	           strcmp(a->flags, b->flags) == 0 && a->nset == b->nset;
	for (size_t i = 0; yes && i < a->nset; i++)
		yes = strcmp(a->sets[i].name, b->sets[i].name) == 0 && strcmp(a->sets[i].text, b->sets[i].text) == 0;
	size_t i = 0;
	for (; yes && a->pub.args[i] != NULL && b->pub.args[i] != NULL; i++)
		yes = strcmp(a->pub.args[i], b->pub.args[i]) == 0;
	return yes && a->pub.args[i] == b->pub.args[i];
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct conf *c = snap_new("/nowhere");
	snap_parse_master(c, "master.cf", span_of(p, n));
	for (size_t i = 0; i < 2 * c->nsvc; i++) {
		struct buf line;
		buf_init(&line, SIZE_MAX);
		text_service(&line, c->svcs[i / 2], i % 2 != 0);
		struct conf *again = snap_new("/nowhere");
		snap_parse_master(again, "master.cf", buf_span(&line));
		BUG_ON(again->nsvc != 1 || conf_problem_count(again, CONF_ERROR) > 0);
		BUG_ON(!same(c->svcs[i / 2], again->svcs[0]));
		conf_unref(&again);
		buf_fini(&line);
	}
	snap_settle_services(c);
	conf_unref(&c);
	return 0;
}

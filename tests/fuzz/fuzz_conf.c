/* SPDX-License-Identifier: BSD-2-Clause */
/* main.cf text. Properties: settings written as name = value lines read back the same; every value can be asked for, in
 * a role as in the loader; an edit does what it says and a second one changes nothing. */
#include "conf/edit.h"
#include "conf/show.h"
#include "conf/snap.h"

#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct conf *
parse(struct span text)
{
	struct conf *c = snap_new("/nowhere");
	c->loader = true;
	snap_parse_main(c, "main.cf", text);
	return c;
}

static void
same_settings(const struct conf *a, const struct conf *b)
{
	BUG_ON(a->nset != b->nset);
	for (size_t i = 0; i < a->nset; i++)
		BUG_ON(strcmp(a->list[i]->name, b->list[i]->name) != 0 || strcmp(a->list[i]->text, b->list[i]->text) != 0);
}

static void
reads_back(const struct conf *c)
{
	struct buf text;
	buf_init(&text, SIZE_MAX);
	for (size_t i = 0; i < c->nset; i++) {
		buf_puts(&text, c->list[i]->name);
		buf_puts(&text, " = ");
		buf_puts(&text, c->list[i]->text);
		buf_putc(&text, '\n');
	}
	struct conf *again = parse(buf_span(&text));
	BUG_ON(conf_problem_count(again, CONF_ERROR) > 0 || conf_problem_count(again, CONF_WARNING) > 0);
	same_settings(c, again);
	conf_unref(&again);
	buf_fini(&text);
}

static void
edits(struct span text)
{
	struct buf once, twice;
	buf_init(&once, SIZE_MAX);
	buf_init(&twice, SIZE_MAX);
	struct edit e = { .op = EDIT_SET, .key = SPAN("mail_name"), .line = SPAN("mail_name = fuzz") };
	edit_text(EDIT_MAIN, text, &e, 1, &once);
	e.done = false;
	edit_text(EDIT_MAIN, buf_span(&once), &e, 1, &twice);
	BUG_ON(!span_eq(buf_span(&once), buf_span(&twice)));
	struct conf *c = parse(buf_span(&once));
	const struct setting *s = snap_setting(c, NULL, SPAN("mail_name"));
	BUG_ON(s == NULL || strcmp(s->text, "fuzz") != 0);
	conf_unref(&c);
	buf_fini(&once);
	buf_fini(&twice);
}

static void
same_values(struct conf *c)
{
	struct conf *role;
	struct err e;
	int fd;
	BUG_ON(conf_image_write(c, CONF_FOR_ALL, &fd, &e) != RC_OK);
	BUG_ON(conf_image_read(fd, &role, &e) != RC_OK);
	close(fd);
	same_settings(c, role);
	for (size_t i = 0; i < c->nset; i++) {
		const char *a = conf_value(c, NULL, c->list[i]->name), *b = conf_value(role, NULL, c->list[i]->name);
		BUG_ON(a == NULL || b == NULL || strcmp(a, b) != 0);
	}
	conf_unref(&role);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span text = span_of(p, n);
	if (n > 20000)
		return 0;
	/* A NUL byte is dropped with a warning; what stays is what must hold. */
	bool plain = n == 0 || memchr(p, '\0', n) == NULL;
	struct conf *c = parse(text);
	reads_back(c);
	if (plain)
		edits(text);
	snap_parse_master(c, "", span_str(snap_default_master));
	snap_compute(c, "myhostname", "mx.example.com");
	snap_compute(c, "mydomain", "example.com");
	snap_settle_services(c);
	snap_fill(c);
	conf_check_params(c);
	if (n % 8 == 0) /* as slow as the rest together */
		same_values(c);
	conf_unref(&c);
	return 0;
}

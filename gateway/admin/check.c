/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/check.h"

#include "policy/policy.h"
#include "queue/route.h"
#include "smtp/service.h"

enum rc
check_load(const char *dir, struct conf **out, struct err *e)
{
	enum rc rc = conf_load(dir, out, e);
	if (*out == NULL)
		return rc;
	conf_check_params(*out);
	policy_check(*out);
	edge_conf_check(*out);
	struct router *router = NULL;
	struct err trouble = { .why = "" };
	(void)!router_open(*out, &router, &trouble); /* its problems are in the snapshot */
	router_free(&router);
	size_t errors = conf_problem_count(*out, CONF_ERROR);
	if (errors > 0)
		return err_set(e, RC_PERM, "%zu error%s in the configuration in %s", errors, errors == 1 ? "" : "s", dir);
	return rc;
}

void
check_print(const struct conf *conf, struct buf *out)
{
	static const struct {
		enum conf_severity severity;
		const char *word;
	} kinds[] = { { CONF_WARNING, "warning: " }, { CONF_ERROR, "error: " } };
	for (size_t k = 0; k < NELEMS(kinds); k++)
		for (size_t i = 0; i < conf_problem_count(conf, kinds[k].severity); i++) {
			const struct conf_problem *p = conf_problem_at(conf, i, kinds[k].severity);
			if (p->file != NULL && p->file[0] != '\0') {
				buf_puts(out, p->file);
				if (p->line > 0)
					buf_printf(out, ":%d", p->line);
				buf_puts(out, ": ");
			}
			buf_puts(out, kinds[k].word);
			buf_puts(out, p->text);
			buf_putc(out, '\n');
		}
}

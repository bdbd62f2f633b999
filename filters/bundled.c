/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/bundled.h"

static const struct {
	const char *name, *parameter, *endpoint, *reason, *header;
} rows[BUNDLED_COUNT] = {
	[BUNDLED_VIRUS] = { "virus", "virus_engine", "unix:filters/virus.sock", "unscanned: the virus filter does not answer", "X-Virus-Status: Unchecked" },
	[BUNDLED_ATTACHMENTS] = { "attachments", "attachment_rules", "unix:filters/attachments.sock", "unscanned: the attachment filter does not answer", NULL },
};

const char *
bundled_name(enum bundled b)
{
	return rows[b].name;
}

const char *
bundled_switch(enum bundled b)
{
	return rows[b].parameter;
}

bool
bundled_is_on(const struct conf *c, enum bundled b)
{
	const char *value = conf_value(c, NULL, rows[b].parameter);
	return value != NULL && value[0] != '\0';
}

enum rc
bundled_find(struct span item, enum bundled *out, struct err *e)
{
	if (!span_starts(item, SPAN(BUNDLED_PREFIX)))
		return RC_NONE;
	struct span name = span_from(item, sizeof BUNDLED_PREFIX - 1);
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (span_eq_str(name, rows[i].name)) {
			*out = (enum bundled)i;
			return RC_OK;
		}
	return err_set(e, RC_PERM, "there is no bundled filter %.*s: need bundled:virus or bundled:attachments", (int)(name.n < 64 ? name.n : 64), (const char *)name.p);
}

const char *
bundled_endpoint(enum bundled b)
{
	return rows[b].endpoint;
}

void
bundled_directory(const struct conf *c, struct buf *path)
{
	buf_puts(path, conf_params(c)->p_queue_directory);
	buf_puts(path, "/filters");
}

const char *
bundled_default_action(const struct conf *c, enum bundled b)
{
	const char *value = b == BUNDLED_VIRUS ? conf_value(c, NULL, "virus_unavailable") : "";
	if (value != NULL && strcmp(value, "accept-and-tag") == 0)
		return "accept";
	if (value != NULL && strcmp(value, "hold-and-rescan") == 0)
		return "quarantine";
	return "tempfail";
}

const char *
bundled_default_reason(enum bundled b)
{
	return rows[b].reason;
}

const char *
bundled_default_header(enum bundled b)
{
	return rows[b].header;
}

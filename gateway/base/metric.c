/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/metric.h"

int64_t metric_values[M_COUNT];

#define COUNTER false
#define GAUGE true
static const struct {
	const char *name, *doc;
	bool is_gauge;
} rows[] = {
#define METRIC(name, kind, unit, doc) { #name, doc, kind },
#include "base/metrics.def"
#undef METRIC
};

const char *
metric_name(enum metric_id m)
{
	return rows[m].name;
}

bool
metric_is_gauge(enum metric_id m)
{
	return rows[m].is_gauge;
}

const char *
metric_doc(enum metric_id m)
{
	return rows[m].doc;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* metric.h - counters and gauges of this process; rows in metrics.def. Main thread only. */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include "base/base.h"

enum metric_id {
#define METRIC(name, kind, unit, doc) M_##name,
#include "base/metrics.def"
#undef METRIC
	M_COUNT
};

extern int64_t metric_values[M_COUNT];

static inline void
metric_add(enum metric_id m, int64_t v)
{
	metric_values[m] += v;
}

static inline void
metric_set(enum metric_id m, int64_t v)
{
	metric_values[m] = v;
}

const char *metric_name(enum metric_id m);
bool metric_is_gauge(enum metric_id m);
const char *metric_doc(enum metric_id m);

#endif

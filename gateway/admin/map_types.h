/* SPDX-License-Identifier: BSD-2-Clause */
/* map_types.h - the names that "conf -m" prints: every table type that works. */
#ifndef ADMIN_MAP_TYPES_H
#define ADMIN_MAP_TYPES_H

#include "base/base.h"

static const char *const map_types[] = {
#define MAP(type, ...) #type,
#define MAP_LATER(type, doc)
#include "map/maps.def"
#undef MAP
#undef MAP_LATER
	NULL,
};

#endif

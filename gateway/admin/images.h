/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * images.h - a snapshot as memory files, one per kind of reader: a secret is only in the image of the role that needs it.
 * Runs in: master.
 */
#ifndef ADMIN_IMAGES_H
#define ADMIN_IMAGES_H

#include "conf/conf.h"
#include "ipc/ipc.h"

struct images {
	int all, keys, relay, auth;  /* owned; -1: nobody needs it */
};

void images_init(struct images *im);
enum rc images_write(struct images *im, const struct conf *c, struct err *e) MUST_CHECK;
void images_close(struct images *im);
/* Borrowed. */
int images_for(const struct images *im, enum role role);

#endif

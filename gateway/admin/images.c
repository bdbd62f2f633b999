/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/images.h"

#include <unistd.h>

void
images_init(struct images *im)
{
	*im = (struct images){ -1, -1, -1, -1 };
}

void
images_close(struct images *im)
{
	const int fds[] = { im->all, im->keys, im->relay, im->auth };
	for (size_t i = 0; i < NELEMS(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	images_init(im);
}

enum rc
images_write(struct images *im, const struct conf *c, struct err *e)
{
	images_init(im);
	const struct {
		enum conf_audience audience;
		int *fd;
	} rows[] = { { CONF_FOR_KEYS, &im->keys }, { CONF_FOR_RELAY, &im->relay }, { CONF_FOR_AUTH, &im->auth } };
	enum rc rc = conf_image_write(c, CONF_FOR_ALL, &im->all, e);
	for (size_t i = 0; rc == RC_OK && i < NELEMS(rows); i++)
		if (conf_has_secrets(c, rows[i].audience))
			rc = conf_image_write(c, rows[i].audience, rows[i].fd, e);
	if (rc != RC_OK)
		images_close(im);
	return rc;
}

int
images_for(const struct images *im, enum role role)
{
	int own = role == ROLE_KEYS ? im->keys : role == ROLE_RELAY ? im->relay : role == ROLE_AUTH ? im->auth : -1;
	return own >= 0 ? own : im->all;
}

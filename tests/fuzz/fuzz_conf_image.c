/* SPDX-License-Identifier: BSD-2-Clause */
/* The image a role gets. Properties: whatever it holds it is accepted or refused, never over-read; what is accepted
 * answers every question. */
#include "conf/snap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct conf *c;
	struct err e;
	struct span text;
	/* The magic is given, or nothing would get past it. */
	static const unsigned char magic[] = "\x0d\0\0\0dogana-conf-2";
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	BUG_ON(fd < 0);
	BUG_ON(write(fd, magic, sizeof magic - 1) != (ssize_t)sizeof magic - 1 || write(fd, p, n) != (ssize_t)n);
	BUG_ON(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0);
	enum rc rc = conf_image_read(fd, &c, &e);
	BUG_ON((rc == RC_OK) != (c != NULL));
	close(fd);
	if (rc != RC_OK)
		return 0;
	for (size_t i = 0; i < c->nset; i++)
		BUG_ON(conf_value(c, NULL, c->list[i]->name) == NULL);
	for (size_t i = 0; i < conf_service_count(c); i++)
		BUG_ON(conf_service(c, i)->params == NULL);
	(void)!conf_file(c, "x", &text, &e);
	conf_unref(&c);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * template.h - texts with $name in them that a client gets to see: replies about DNS lists, footers of refusals.
 * Facts 3.2, 4.1.
 *
 * Grammar as in main.cf ($name, ${name}, ${name?text}, ${name:text}, $$). What stands for a name comes from outside: it is
 * never expanded again, and its characters that smtpd_expansion_filter does not have become "_".
 */
#ifndef POLICY_TEMPLATE_H
#define POLICY_TEMPLATE_H

#include "policy/policy.h"

/* Appends the value of a name; false: there is no such name. Nothing appended: "${name?text}" is left out. */
typedef bool policy_template_fn(void *arg, struct span name, struct buf *out);

/* Which octets pass smtpd_expansion_filter as it is written (with \t and \ooo). */
struct template_filter {
	bool ok[256];
};
void template_filter_init(struct template_filter *f, const char *value);

/* RC_PERM: bad syntax or an unknown name; out then holds a part. */
enum rc policy_template(const struct template_filter *f, struct span text, policy_template_fn *value, void *arg, struct buf *out, struct err *e)
    MUST_CHECK;

#endif

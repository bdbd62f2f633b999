/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * list_use.h - which DNS lists the restrictions of a policy ask, classes included. What a table result names is asked without
 * being here.
 */
#ifndef POLICY_LIST_USE_H
#define POLICY_LIST_USE_H

#include "policy/policy.h"
#include "rbl/health.h"
#include "rbl/list.h"

struct policy_list_use {
	const char *parameter;       /* the restriction list or class it stands in */
	const char *restriction;     /* as configured: "reject_rbl_client bl.example=127.0.0.2" */
	const struct rbl_list *list;
	enum rbl_kind kind;
	bool is_allow;
	const struct policy_rule *rule;
};
typedef void policy_list_use_fn(void *arg, const struct policy_list_use *u);
void policy_each_list(const struct policy *p, policy_list_use_fn *fn, void *arg);
/* All of them are in use: between rbl_health_begin() and rbl_health_end(). */
void policy_use_lists(const struct policy *p);

#endif

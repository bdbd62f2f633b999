/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quarantine_asking.h - a question of an administrator while it is answered: what the files of quarantine_ask.h share.
 * quarantine_ask.c: its life, and what is one request to the store; quarantine_look.c: lists, messages, check; quarantine_each.c: release
 * and delete, some at a time.
 */
#ifndef QUEUE_QUARANTINE_ASKING_H
#define QUEUE_QUARANTINE_ASKING_H

#include "quarantine/ask.h"
#include "queue/answer.h"
#include "queue/notices.h"
#include "queue/quarantine.h"
#include "queue/queue.h"

enum {
	ASKING_PAGE = 100,               /* messages of one question to the store */
	ASKING_WIDE = 32,                /* orders under way: the store and the spool write down at once what comes together */
};

/* One of the messages that are released or deleted. */
struct asking_one {
	struct asking *a;
	struct quar_req look;
	struct quarantine_order order;
	struct arena arena;
	struct spool_id id;
	struct span *addrs;              /* who are meant; none: all */
	size_t naddrs;
	bool busy;
};

struct asking {
	unsigned magic;
	struct grave grave;
	struct answer answer;
	struct queue *q;
	struct quar *store;
	struct op_owner ops;
	struct arena arena;              /* of the question */
	struct ask ask;
	struct span who;
	void (*next)(struct asking *);   /* when what was written has left */
	/* one of each at a time */
	struct quar_req req, content;
	struct quarantine_order order;
	struct digest_wait digests;

	struct spool_id id;              /* at hand */
	uint64_t cursor;                 /* list, check, ids: of the next page */
	uint64_t done, failed;           /* messages; list: shown; check: looked at, flaws that stay */
	uint64_t offset;                 /* export */
	uint64_t flaws;                  /* check */
	/* releasing and deleting: ids of the question, or of a page */
	struct {
		struct arena arena;      /* of the page */
		struct spool_id *ids;
		size_t n, at;
		bool more, paging;       /* pages; one is asked for */
		struct asking_one *ones; /* ASKING_WIDE; NULL: it is about none */
		unsigned busy;
		void (*act)(struct asking_one *);
	} each;
};

/* Where an answer to something it asked belongs. */
struct asking *asking_of_req(struct op *op);
struct asking *asking_of_content(struct op *op);
struct asking *asking_of_order(struct op *op);

static inline struct buf *
asking_out(struct asking *a)
{
	return answer_out(&a->answer);
}
/* Goes on with next, at once or when the reader has taken what is there. */
void asking_go_on(struct asking *a, void (*next)(struct asking *));
/* One of its requests, made ready for another question. */
struct quar_req *asking_again(struct asking *a, struct quar_req *r, op_fn *done);
/* The same for its order. */
struct quarantine_order *asking_order(struct asking *a, op_fn *done);
/* The last line; why NULL: all is well. */
void asking_end(struct asking *a, const char *why);
/* Why a request, or the order, did not end well; none: what RC_NONE means. */
const char *asking_trouble(const struct quar_req *r);
const char *asking_order_trouble(const struct quarantine_order *o, const char *none);
/* How it went with the id at hand begins so. */
struct buf *asking_say_id(struct asking *a);
/* id: NULL if it is about none; to: empty, nrcpt 0: not said. */
void asking_log(const struct asking *a, const struct spool_id *id, const char *action, struct span to, uint64_t nrcpt);

void asking_list(struct asking *a);
void asking_show(struct asking *a);
void asking_export(struct asking *a);
void asking_stats(struct asking *a);
void asking_check(struct asking *a);
void asking_release(struct asking *a);
void asking_delete(struct asking *a);
/* Nobody hears of the orders any more (they are carried out all the same). Their memory goes with the question's. */
void asking_each_fini(struct asking *a);

#endif

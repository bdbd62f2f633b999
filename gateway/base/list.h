/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * list.h - doubly linked lists whose links live in the objects.
 *
 * A link that is on no list points to itself, so list_remove is idempotent and "is it on a list"
 * can be asked. All O(1).
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/base.h"

struct list {
	struct list *prev, *next;
};

static inline void
list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool
list_empty(const struct list *l)
{
	return l->next == l;
}

/* the same test, read at a link: is this object on some list? */
static inline bool
list_linked(const struct list *link)
{
	return link->next != link;
}

static inline void
list_insert_after(struct list *at, struct list *link)
{
	BUG_ON(list_linked(link));
	link->prev = at;
	link->next = at->next;
	at->next->prev = link;
	at->next = link;
}

static inline void
list_append(struct list *l, struct list *link)
{
	list_insert_after(l->prev, link);
}

static inline void
list_prepend(struct list *l, struct list *link)
{
	list_insert_after(l, link);
}

static inline void
list_remove(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

/* First link, taken off; NULL when empty. */
static inline struct list *
list_pop(struct list *l)
{
	struct list *link = l->next;
	if (link == l)
		return NULL;
	list_remove(link);
	return link;
}

/* Moves all of from to the end of to. */
static inline void
list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(link, type, member) container_of(link, type, member)
/* The body may remove the current link, not others. */
#define list_each(it, l) for (struct list *it = (l)->next, *it##_next = it->next; it != (l); it = it##_next, it##_next = it->next)

#endif

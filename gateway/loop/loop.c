/* SPDX-License-Identifier: BSD-2-Clause */
#include "loop/loop.h"

#include "base/clock.h"
#include "base/log.h"
#include "loop/op.h"

static struct event_base *base;
static bool stopping;
static struct list graves = { &graves, &graves };
static struct list hooks[LOOP_PHASES];
static uint64_t turn_began;
static bool is_awake; /* turn_began is of this turn */

void
loop_init(void)
{
	BUG_ON(base != NULL);
	struct event_config *cfg = event_config_new();
	BUG_ON(cfg == NULL);
	/* epoll changes are gathered and made once per turn */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	BUG_ON(base == NULL);
	for (int i = 0; i < LOOP_PHASES; i++)
		if (hooks[i].next == NULL)
			list_init(&hooks[i]);
	turn_began = clock_mono();
}

static void
end_turn(void)
{
	log_flush();
	for (int i = 0; i < LOOP_PHASES; i++)
		list_each(l, &hooks[i]) {
			struct loop_hook *h = list_entry(l, struct loop_hook, link);
			h->fn(h);
		}
	for (struct list *l; (l = list_pop(&graves)) != NULL;) {
		struct grave *g = list_entry(l, struct grave, link);
		g->dig(g);
	}
}

/* The first of a turn that runs takes the time: what the process slept before is not of this turn. */
static void
wake(void)
{
	if (is_awake)
		return;
	is_awake = true;
	turn_began = clock_mono();
}

void
loop_run(void)
{
	enum { ROUNDS = 64 }; /* completions that make completions: descriptors get their turn again */
	stopping = false;
	end_turn(); /* what was written before the loop ran leaves too */
	while (!stopping) {
		is_awake = false;
		event_base_loop(base, ops_any_ready() ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
		wake();
		for (int i = 0; i < ROUNDS && ops_run_ready(); i++)
			;
		end_turn();
	}
	log_flush();
}

void
loop_stop(void)
{
	stopping = true;
}

void
loop_fini(void)
{
	end_turn();
	if (base != NULL)
		event_base_free(base);
	base = NULL;
}

void
loop_bury(struct grave *g, void (*dig)(struct grave *))
{
	list_init(&g->link);
	g->dig = dig;
	list_append(&graves, &g->link);
}

void
loop_hook_add(struct loop_hook *h, enum loop_phase phase, void (*fn)(struct loop_hook *))
{
	if (hooks[phase].next == NULL)
		list_init(&hooks[phase]);
	list_init(&h->link);
	h->fn = fn;
	list_append(&hooks[phase], &h->link);
}

void
loop_hook_remove(struct loop_hook *h)
{
	if (h->link.next != NULL)
		list_remove(&h->link);
}

uint64_t
loop_now(void)
{
	return turn_began;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct timer *t = arg;
	t->armed = false;
	is_awake = true;
	turn_began = clock_mono(); /* never before what it waited for */
	t->fn(t);
}

void
timer_init(struct timer *t, timer_fn *fn)
{
	t->fn = fn;
	t->armed = false;
	t->inited = true;
	evtimer_assign(&t->ev, base, on_timer, t);
}

void
timer_set(struct timer *t, uint64_t usec)
{
	BUG_ON(!t->inited);
	struct timeval tv = { .tv_sec = (time_t)(usec / USEC_PER_SEC), .tv_usec = (suseconds_t)(usec % USEC_PER_SEC) };
	if (evtimer_add(&t->ev, &tv) != 0)
		BUG("evtimer_add");
	t->armed = true;
}

void
timer_clear(struct timer *t)
{
	if (t->armed)
		evtimer_del(&t->ev);
	t->armed = false;
}

static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	struct watch *w = arg;
	wake();
	w->fn(w, what);
}

void
watch_init(struct watch *w, int fd, watch_fn *fn)
{
	w->fd = fd;
	w->fn = fn;
	w->want = 0;
	w->inited = true;
}

void
watch_want(struct watch *w, short events)
{
	BUG_ON(!w->inited);
	if (w->want == events)
		return;
	if (w->want != 0)
		event_del(&w->ev);
	w->want = events;
	if (events == 0)
		return;
	event_assign(&w->ev, base, w->fd, (short)(events | EV_PERSIST), on_watch, w);
	if (event_add(&w->ev, NULL) != 0)
		BUG("event_add");
}

void
watch_clear(struct watch *w)
{
	if (w->inited)
		watch_want(w, 0);
	w->inited = false;
}

static void
on_signal(evutil_socket_t signo, short what, void *arg)
{
	(void)what;
	struct sigwatch *s = arg;
	wake();
	s->fn(s, (int)signo);
}

void
sigwatch_init(struct sigwatch *s, int signo, void (*fn)(struct sigwatch *, int signo))
{
	s->fn = fn;
	evsignal_assign(&s->ev, base, signo, on_signal, s);
	if (evsignal_add(&s->ev, NULL) != 0)
		BUG("evsignal_add");
}

void
sigwatch_clear(struct sigwatch *s)
{
	evsignal_del(&s->ev);
}

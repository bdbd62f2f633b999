# SPDX-License-Identifier: BSD-2-Clause
"""Cut passes: the client is gone after each step or byte, the hub at each of its steps; everything must be clean behind it."""

import concurrent.futures

from place import canary, check_wire, settle
from play import Run
from rig import Broken, wait_for

AT_ONCE = 16     # cut points of a script that says `together'


def spread(items, most):
    """At most so many of them, evenly, the first and the last included; 0: all."""
    n = len(items)
    return items if not most or n <= most else [items[j * (n - 1) // (most - 1)] for j in range(most)]


def cut_client(place, scr, limit, most):
    """The client goes away after each step (of a long script: at `most' of them, since each needs all before it), and in scripts
    of at most `limit' bytes after each byte."""
    acting = [i for i, s in enumerate(scr.steps) if s.client]
    points = [(i, None) for i in spread(acting, most)]
    size = sum(len(s.data) for s in scr.steps)
    if size <= limit:
        points += [(i, k) for i in acting for k in range(1, len(scr.steps[i].data))]
    run = Run(place, scr, 'cut client')
    ruled = any(s.kind == 'hub' and s.words.split()[0] == 'rule' for s in scr.steps)

    def play(number, stop, byte):
        """(messages that were complete, and those that were confirmed)"""
        if ruled:
            place.hub.order('clear')
        sent, finals, confirmed = {}, 0, 0
        alone = run.beside()
        try:
            for i, s in enumerate(scr.steps[:stop + 1]):
                if not s.client and not (s.kind == 'hub' and s.words.split()[0] in ('rule', 'clear')):
                    continue
                if i == stop and byte is not None:
                    sent[s.client] = sent.get(s.client, b'') + s.data[:byte]
                    alone.clients[s.client].send(s.data[:byte])
                    break
                sent[s.client] = sent.get(s.client, b'') + s.data
                finals += s.final
                alone.do(s)
                confirmed += s.kind == 'expect' and any((t or '') and 'queued as' in t or r and 'queued as' in r.pattern for _, t, r in s.want)
        except (Broken, OSError, KeyError) as e:
            alone.abandon()
            raise Broken(f'{scr.path.name}:{s.line} (cut client at step {stop}, byte {byte}): {e}')
        alone.abandon(rst=bool(number & 1))
        return max(finals, sum(data.count(b'\r\n.\r\n') for data in sent.values())), confirmed
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE if scr.together and not ruled else 1) as pool:
        counts = list(pool.map(lambda n: play(n, *points[n]), range(len(points))))
    complete, confirmed = (sum(c[k] for c in counts) for k in (0, 1))
    place.hub.order('clear')
    wait_for('sessions to end', lambda: place.gateway.metrics().get('smtpd_sessions') == 0)
    took = place.gateway.metrics().get('smtpd_messages', 0) - run.before.get('smtpd_messages', 0)
    if not confirmed <= took <= complete:
        raise Broken(f'{scr.name} (cut client): {took} messages taken, but {complete} were complete and {confirmed} confirmed')
    settle(place)
    return len(points)


def cut_hub(place, scr):
    """The hub goes away at each step it is asked to do; then everything must still get through or bounce."""
    if not any(s.kind == 'hub' and s.words.split()[0] == 'got' for s in scr.steps):
        return 0
    done = 0
    for k in range(40):
        run = Run(place, scr, f'cut hub at {k}')
        place.hub.order('clear')
        for how in ['close'] if k % 2 else ['rst']:
            place.hub.order(f'rule any skip={k} times=1 {how}')
        for s in scr.steps:
            if s.client or (s.kind == 'hub' and s.words.split()[0] == 'rule'):
                try:
                    run.do(s)
                except (Broken, OSError, KeyError) as e:
                    run.abandon()
                    raise Broken(f'{scr.path.name}:{s.line} (cut hub at {k}): {e}')
        run.abandon()
        run.do_idle('')
        hit = place.hub.order('stats')['hits'][0]
        place.hub.order('clear')
        if place.gateway.queue():
            place.gateway.ask('queue flush')
            if not scr.modes or 'nodrain' not in scr.modes:
                wait_for(f'the queue to empty after the hub was cut at {k} in {scr.name}', lambda: not place.gateway.queue())
        done += 1
        if not hit:
            break
    settle(place)
    return done


def can_cut(scr):
    return scr.modes is None or 'cut' in scr.modes


def run_cut(place, scr, limit, most):
    try:
        cut_client(place, scr, limit, most)
        cut_hub(place, scr)
        check_wire(place)
        canary(place)
        settle(place)
        return []
    except Broken as e:
        try:
            settle(place)
        except Broken as e2:
            return [str(e), f'{scr.name}: afterwards: {e2}']
        return [str(e)]

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Address verification: the same addresses, settings and hub behind Debian's Postfix and behind us; every reply compared.

    verify.py [-v]

Ours runs with address_verify_tell_clients = yes, which repeats the hub's words as Postfix always does; without it they
must not be in any reply. Exit status 1 if something differs that DIFFERENCES does not list, 77 where Postfix cannot run.
"""

import argparse
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402

PEER = TOP / 'tests/tools/postfix-peer.sh'

# (pattern of the address, of Postfix's reply, of ours, why)
DIFFERENCES = [
    (r'.*', r'.*', r'.*the mail system of this address', 'only without address_verify_tell_clients: a stranger is not told what hosts inside said'),
]

COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydomain = example.com
mydestination =
local_transport = error:no mailboxes here
relay_domains = any.example, err.example, down.example
relay_recipient_maps =
local_recipient_maps =
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{{one@alias.example=ok@any.example}, {two@alias.example=ok@any.example bad@any.example}, {badone@alias.example=bad@any.example}}
relocated_maps = inline:{{moved@any.example=new@else.example}}
transport_maps = inline:{{any.example=smtp:@HUB@}, {err.example=error:5.7.9 closed}, {retry.err.example=retry:4.7.9 wait}, {soft.err.example=error:4.1.1 soft},
  {down.example=smtp:[127.0.0.1]:1}, {drop.example=discard:}, {nosuch.example=nosuch:}}
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_reject_unlisted_recipient = no
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
address_verify_poll_delay = 2s
'''
RECIPIENT = 'smtpd_recipient_restrictions=reject_unverified_recipient'
SERVICES = [
    [RECIPIENT],
    [RECIPIENT, 'unverified_recipient_reject_code=550'],
    [RECIPIENT, 'unverified_recipient_reject_code=550', 'unverified_recipient_defer_code=250', 'unverified_recipient_reject_reason=Not here'],
    [RECIPIENT, 'unverified_recipient_reject_code=550', 'unverified_recipient_tempfail_action=defer'],
    [RECIPIENT, 'unverified_recipient_reject_code=550', 'address_verify_poll_count=1'],
    ['smtpd_recipient_restrictions=warn_if_reject reject_unverified_recipient'],
    ['smtpd_sender_restrictions=reject_unverified_sender', 'smtpd_recipient_restrictions='],
    ['smtpd_sender_restrictions=reject_unverified_sender', 'smtpd_recipient_restrictions=', 'unverified_sender_reject_code=553'],
]
ADDRESSES = ['ok@any.example', 'bad@any.example', 'later@any.example', 'slow@any.example', 'x@err.example', 'x@retry.err.example', 'x@soft.err.example',
             'one@alias.example', 'two@alias.example', 'badone@alias.example', 'no@alias.example', 'x@down.example', 'x@drop.example', 'x@nosuch.example',
             'moved@any.example', 'double-bounce@mx.example.com', 'double-bounce@any.example', 'postmaster', '']
RULES = ['rcpt=<bad reply 550 5.1.1 <bad@inside>: no such user here', 'rcpt=<later reply 451 4.2.1 mailbox busy', 'rcpt=<slow delay 7000']
INSIDE = re.compile(r'no such user here|mailbox busy|127\.0\.0\.1\[|Connection refused')


def master(ports):
    return ''.join(f'127.0.0.1:{port} inet n - n - - smtpd\n' + ''.join('  -o { %s }\n' % s.replace('=', ' = ', 1) for s in service)
                   for port, service in zip(ports, SERVICES))


def ask(port, is_sender, addr):
    with socket.create_connection(('127.0.0.1', port), 40) as s:
        replies = s.makefile('rb')
        got = ''
        sender, rcpt = (addr, 'ok@any.example') if is_sender else ('a@any.example', addr)
        for command in ('', 'EHLO c.example', f'MAIL FROM:<{sender}>', f'RCPT TO:<{rcpt}>'):
            s.sendall(command.encode() + b'\r\n' if command else b'')
            while (line := replies.readline())[3:4] == b'-':
                pass
            got = line.decode('latin-1').rstrip()
            if not got.startswith('2'):
                break
        return re.sub(r'\]:\d+', ']:PORT', got)


def play(ports):
    said = {}
    for i, port in enumerate(ports):
        for again in range(2):  # unknown, then from the cache
            threads = []
            for a in ADDRESSES:
                if a == 'slow@any.example' and (i > 0 or again):
                    continue
                threads.append(threading.Thread(target=lambda a=a: said.__setitem__((i, again, a), ask(port, 'sender' in SERVICES[i][0], a))))
            for t in threads:
                t.start()
            for t in threads:
                t.join()
    return said


def postfix(scratch, hub):
    main_port, *ports = rig.free_ports(len(SERVICES) + 1)
    where = scratch / 'postfix'
    where.mkdir(mode=0o755)
    (where / 'extra.cf').write_text(COMMON.replace('@HUB@', f'[127.0.0.1]:{hub.ports[0]}') + 'address_verify_map = btree:$data_directory/verify_cache\n')
    (where / 'extra-master.cf').write_text(master(ports))
    started = subprocess.run([PEER, 'start', where, str(main_port), f'[127.0.0.1]:{hub.ports[0]}'])
    if started.returncode != 0:
        sys.exit(started.returncode)
    try:
        return play(ports)
    finally:
        subprocess.run([PEER, 'stop', where], check=False)


def dogana(scratch, hub, tell):
    ports = rig.free_ports(len(SERVICES))
    where = scratch / f'dogana-{tell}'
    gateway = rig.Gateway(where, COMMON.replace('@HUB@', f'[127.0.0.1]:{hub.ports[0]}') +
                          f'relayhost = [127.0.0.1]:{hub.ports[0]}\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\naddress_verify_tell_clients = {tell}\n'
                          f'queue_directory = {where}/queue\ndata_directory = {where}/data\nmaillog_file = /dev/stdout\nedge_workers = 1\nrelay_workers = 1\n',
                          master(ports))
    gateway.start(ports[0])
    try:
        return play(ports)
    finally:
        gateway.stop()


def main():
    p = argparse.ArgumentParser()
    p.add_argument('-v', '--verbose', action='store_true')
    args = p.parse_args()
    if os.geteuid() != 0:
        print('verify.py: skipped: Postfix needs root')
        sys.exit(77)
    scratch = rig.workdir('verify')
    scratch.chmod(0o755)
    hub = rig.Hub(scratch / 'hub', ['0'])
    for rule in RULES:
        hub.order('rule ' + rule)
    same = different = leaks = 0
    try:
        theirs, ours, quiet = postfix(scratch, hub), dogana(scratch, hub, 'yes'), dogana(scratch, hub, 'no')
        for key in sorted(theirs):
            same += theirs[key] == ours[key]
            if theirs[key] != ours[key] and not any(re.search(a, key[2]) and re.search(t, theirs[key]) and re.search(o, ours[key]) for a, t, o, _ in DIFFERENCES):
                different += 1
                print(f'{", ".join(SERVICES[key[0]])}: <{key[2]}>{" again" if key[1] else ""}\n  - {theirs[key]}\n  + {ours[key]}')
            elif args.verbose:
                print(f'{key}: {ours[key]}')
            if INSIDE.search(quiet[key]) or quiet[key][:3] != ours[key][:3]:
                leaks += 1
                print(f'{", ".join(SERVICES[key[0]])}: <{key[2]}>: told to a stranger: {quiet[key]}')
    finally:
        hub.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    print(f'verify: {same} replies the same, {different} different, {leaks} with what hosts inside said (- Postfix, + Dogana)')
    sys.exit(different + leaks > 0)


main()

# SPDX-License-Identifier: BSD-2-Clause
"""A DNS server with a table, which can fail in every way there is. UDP and TCP on one port of loopback.

Rows are (name, kind, data). Kinds of records: A NS CNAME PTR MX TXT AAAA TLSA SRV; TTL N for all records of a name (60),
NEGTTL N for how long its "no" may be kept (without it there is no SOA; name *: every name). A name with rows but none of the type asked for is
NODATA; \\DDD in names and texts is an octet; a name without rows gets the rows of *.PARENT, if there are any, else NXDOMAIN. Aliases of the table are followed in the answer.

Kinds that spoil the answers about a name (TYPE/KIND: only for questions of that type):
    SERVFAIL REFUSED FORMERR NOTIMP BADVERS NXDOMAIN   that code (NXDOMAIN: whatever else the table has)
    DROP              nothing; DROP N: only the first N times     DELAY MS   that late (name *: every name)
    GARBAGE           a record that points out of the packet      LOOP       an owner name that points at itself
    CUT N             the first N octets of the true answer (-N: without the last N)      TWOQ NOQ   two questions, none
    WRONGQ            a true answer to another question           WRONGID    nothing but answers with other ids
    QUERY             not marked as an answer
    SPOOF DATA        first forgeries that say A DATA (other ids, other letters, another port, another address, another question, sent before
                      and after the true answer), then what the table says
    TC                cut off over UDP, whole over TCP            TCALWAYS   cut off over both
    TCPSTALL TCPCUT TCPZERO TCPCLOSE TCPREFUSED   cut off over UDP; TCP says nothing, ends within the answer, sends a length of 0,
                      closes; TCPREFUSED: code REFUSED over TCP
    MANY N            N records of the type asked for (A, MX, PTR, TXT), too many for UDP where they are
    NOEDNS            FORMERR to a question with EDNS, the table's answer without; NOEDNS bare: nothing but a header
    LATE MS           a true answer MS late, but at once a SERVFAIL (late answers are for nobody)
"""

import collections
import re
import select
import socket
import struct
import threading

TYPES = {'A': 1, 'NS': 2, 'CNAME': 5, 'SOA': 6, 'PTR': 12, 'MX': 15, 'TXT': 16, 'AAAA': 28, 'SRV': 33, 'TLSA': 52}
NAMES = {v: k for k, v in TYPES.items()}
CODES = {'FORMERR': 1, 'SERVFAIL': 2, 'NXDOMAIN': 3, 'NOTIMP': 4, 'REFUSED': 5}
UDP_MAX = 1232
QR, TC = 0x8180, 0x0200


def octets(text):
    """\\DDD as in zone files."""
    return re.sub(r'\\(\d{3})', lambda m: chr(int(m.group(1))), text).encode('latin-1')


def pack_name(name):
    out = b''
    for label in [x for x in re.split(r'(?<!\\)\.', name.rstrip('.')) if x]:
        raw = octets(label.replace('\\.', '.'))
        out += bytes([len(raw)]) + raw
    return out + b'\0'


def pack_data(kind, data):
    if kind == 'A':
        return socket.inet_aton(data)
    if kind == 'AAAA':
        return socket.inet_pton(socket.AF_INET6, data)
    if kind == 'MX':
        pref, host = data.split(None, 1)
        return struct.pack('>H', int(pref)) + pack_name(host)
    if kind == 'SRV':
        prio, weight, port, host = data.split(None, 3)
        return struct.pack('>HHH', int(prio), int(weight), int(port)) + pack_name(host)
    if kind == 'TLSA':
        usage, selector, match, digest = data.split(None, 3)
        return bytes([int(usage), int(selector), int(match)]) + bytes.fromhex(digest.replace(' ', ''))
    if kind == 'TXT':
        raw = octets(data)
        return b''.join(bytes([len(raw[i:i + 255])]) + raw[i:i + 255] for i in range(0, max(len(raw), 1), 255))
    return pack_name(data)


def record(owner, kind, ttl, data):
    return owner + struct.pack('>HHIH', TYPES[kind], 1, ttl, len(data)) + data


def question(name, kind):
    """A question as a resolver asks it."""
    return b'\x12\x34' + struct.pack('>HHHHH', 0x0100, 1, 0, 0, 1) + pack_name(name) + struct.pack('>HH', TYPES[kind], 1) + \
        b'\0' + struct.pack('>HHIH', 41, UDP_MAX, 0, 0)


class Question:
    def __init__(self, q):
        at, labels = 12, []
        while q[at]:
            labels.append(q[at + 1:at + 1 + q[at]].decode('latin-1').replace('.', '\\.'))
            at += q[at] + 1
        self.id = q[:2]
        self.name = '.'.join(labels).lower()
        self.wire = q[12:at + 5]
        self.number = struct.unpack('>H', q[at + 1:at + 3])[0]
        self.type = NAMES.get(self.number, str(self.number))
        self.edns = struct.unpack('>H', q[10:12])[0] > 0
        self.room = UDP_MAX if self.edns else 512


class Dns(threading.Thread):
    """asked: how often which (name, type) was asked. mode: None, or a row kind that holds for every name."""
    address = '127.0.0.1'

    def __init__(self):
        super().__init__(daemon=True)
        self.table = collections.defaultdict(list)
        self.asked = collections.Counter()
        self.mode = None
        self.open()
        self.port = self.sock.getsockname()[1]
        self.start()

    def open(self):
        for _ in range(50):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.bind()
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE: what is lost here is no fault of the one under test
            except OSError:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind(self.sock.getsockname())
                self.tcp.listen(64)
                return
            except OSError:  # somebody has that port for TCP
                self.sock.close()
                self.tcp.close()
        raise OSError('no port for a DNS server')

    def bind(self):
        self.sock.bind((self.address, 0))

    def add(self, name, kind, data=''):
        self.table[name.lower().rstrip('.')].append((kind, data))

    def remove(self, name):
        self.table.pop(name.lower().rstrip('.'), None)

    @property
    def questions(self):
        return sum(self.asked.values())

    # -- what the table says

    def rows(self, name):
        rows = self.table.get(name)
        while rows is None and '.' in name:
            name = re.split(r'(?<!\\)\.', name, maxsplit=1)[1] if re.search(r'(?<!\\)\.', name) else ''
            rows = self.table.get('*.' + name)
        return rows or []

    @staticmethod
    def many(kind, n):
        for i in range(n):
            if kind == 'A':
                yield '127.%d.%d.2' % (i >> 8 & 255, i & 255)
            elif kind == 'MX':
                yield f'{10 + i} h{i}.many.test'
            elif kind == 'PTR':
                yield f'h{i}.many.test'
            elif kind == 'TXT':
                yield f'text number {i}'

    def truth(self, ask, rows, code=None):
        """(code, count, answer section, authority section)"""
        out, count, name, owner = b'', 0, ask.name, b'\xc0\x0c'
        found = bool(rows)
        for _ in range(40):
            mine = rows if name == ask.name else self.rows(name)
            found = bool([r for r in mine if r[0] != 'DELAY'])
            if any(k == 'SERVFAIL' for k, _ in mine):
                code = 2
            ttl = int(next((d for k, d in mine if k == 'TTL'), 60))
            n = sum(int(d) for k, d in mine if k == 'MANY')
            datas = [d for k, d in mine if k == ask.type] + list(self.many(ask.type, n))
            for data in datas:
                out += record(owner, ask.type, ttl, pack_data(ask.type, data))
            count += len(datas)
            alias = next((d for k, d in mine if k == 'CNAME' and ask.type != 'CNAME'), None)
            if alias is None:
                break
            out += record(owner, 'CNAME', ttl, pack_name(alias))
            count += 1
            name, owner = alias.lower().rstrip('.'), pack_name(alias)
        else:
            found = True
        soa = next((d for k, d in rows + self.table.get('*', []) if k == 'NEGTTL'), None)
        found = found and any(k != 'NEGTTL' for k, _ in (rows if name == ask.name else self.rows(name)))
        authority = b''
        if soa is not None:
            data = pack_name('ns.soa.test') + pack_name('root.soa.test') + struct.pack('>IIIII', 1, 3600, 600, 86400, int(soa))
            authority = record(b'\xc0\x0c', 'SOA', int(soa), data)
        return code if code is not None else 0 if found else 3, count, out, authority

    @staticmethod
    def packet(ask, code=0, count=0, out=b'', authority=b'', flags=QR, extra=b'', nq=1, question=None, id=None):
        question = ask.wire if question is None else question
        return ((id or ask.id) + struct.pack('>HHHHH', flags | code, nq, count, 1 if authority else 0, 1 if extra else 0) + question + out +
                authority + extra)

    def answers(self, q, tcp=False, spoil=True):
        """[(seconds late, bytes, from another socket)] for one question; bytes None: end the TCP connection."""
        ask = Question(q)
        self.asked[ask.name, ask.type] += 1
        if self.mode == 'CLOSED':
            return []
        rows = self.rows(ask.name)
        rows = [(k.rpartition('/')[2], d) for k, d in rows if '/' not in k or k.startswith(ask.type + '/')]
        if self.mode:
            rows = [(self.mode, '')] + rows
        if not spoil:
            rows = [(k, d) for k, d in rows if k in TYPES or k in ('TTL', 'NEGTTL')]
        has = dict(reversed(rows))
        late = sum(int(data) for kind, data in rows + self.table.get('*', []) if kind == 'DELAY') / 1000
        if 'DROP' in has and (not has['DROP'] or self.asked[ask.name, ask.type] <= int(has['DROP'])):
            return []
        for kind, code in CODES.items():
            if kind in has:
                return [(late, self.packet(ask, code), False)]
        if 'LATE' in has:
            return [(0, self.packet(ask, 2), False), (int(has['LATE']) / 1000, self.packet(ask, *self.truth(ask, rows)), False)]
        if 'NOEDNS' in has and ask.edns:
            return [(late, self.packet(ask, 1, nq=0, question=b'') if has['NOEDNS'] else self.packet(ask, 1), False)]
        if 'BADVERS' in has:  # 16 in the upper bits of an OPT record
            return [(late, self.packet(ask, 0, extra=b'\0' + struct.pack('>HHIH', 41, UDP_MAX, 1 << 24, 0)), False)]
        if 'GARBAGE' in has:
            return [(late, self.packet(ask, 0, 1, b'\xc0\xff\x00'), False)]
        if 'LOOP' in has:
            at = 12 + len(ask.wire)
            return [(late, self.packet(ask, 0, 1, struct.pack('>H', 0xc000 | at) + ask.wire[-4:] + struct.pack('>IH', 60, 4) + b'\x7f\0\0\2'), False)]
        whole = self.packet(ask, *self.truth(ask, rows))
        if 'CUT' in has:
            return [(late, whole[:int(has['CUT'])], False)]
        if 'TWOQ' in has:
            return [(late, self.packet(ask, *self.truth(ask, rows), nq=2, question=ask.wire * 2), False)]
        if 'NOQ' in has:
            return [(late, self.packet(ask, *self.truth(ask, rows), nq=0, question=b''), False)]
        if 'QUERY' in has:
            return [(late, self.packet(ask, *self.truth(ask, rows), flags=0x0100), False)]
        other = b'\x05other' + ask.wire
        if 'WRONGQ' in has:
            return [(late, self.packet(ask, *self.truth(ask, rows), question=other), False)]
        wrong = [bytes([ask.id[0] ^ 1 << i, ask.id[1]]) for i in range(8)]
        if 'WRONGID' in has:
            return [(late, self.packet(ask, *self.truth(ask, rows), id=w), False) for w in wrong]
        if 'SPOOF' in has:
            lie = record(b'\xc0\x0c', 'A', 3600, socket.inet_aton(has['SPOOF']))
            lies = [(late, self.packet(ask, 0, 1, lie, id=w), False) for w in wrong]
            other_case = bytes(c ^ 0x20 if chr(c).isalpha() else c for c in ask.wire[:-4]) + ask.wire[-4:]
            lies += [(late, self.packet(ask, 0, 1, lie, question=other_case), False), (late, self.packet(ask, 0, 1, lie), True), (late, self.packet(ask, 0, 1, lie, question=other), False)]
            lies += [(late, self.packet(ask, 0, 1, record(pack_name('other.test'), 'A', 3600, socket.inet_aton(has['SPOOF']))[:-5], question=other), False)]
            return (lies if not tcp else []) + [(late + 0.02, whole, False)] + (lies if not tcp else [])
        if any(k.startswith('TCP') for k in has):
            if not tcp:
                return [(late, self.packet(ask, 0, flags=QR | TC), False)]
            if 'TCPSTALL' in has:
                return []
            if 'TCPCLOSE' in has:
                return [(late, None, False)]
            if 'TCPZERO' in has:
                return [(late, b'', False)]
            if 'TCPREFUSED' in has:
                return [(late, self.packet(ask, 5), False)]
            if 'TCPCUT' in has:
                return [(late, whole, False), (late, None, False)]
        if 'TCALWAYS' in has or (not tcp and ('TC' in has or len(whole) > ask.room)):
            return [(late, self.packet(ask, 0, flags=QR | TC), False)]
        return [(late, whole, False)]

    # -- the wire

    def say(self, packet, peer, elsewhere):
        if elsewhere:
            for address in (self.address, '127.0.0.99'):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.bind((address, 0))
                    s.sendto(packet, peer)
        else:
            self.sock.sendto(packet, peer)

    def send(self, packet, peer, elsewhere=False):
        try:
            self.say(packet, peer, elsewhere)
        except OSError:
            pass  # the test is over

    def one(self):
        q, peer = self.sock.recvfrom(4096)
        for late, packet, elsewhere in self.answers(q):
            if late:
                timer = threading.Timer(late, self.send, (packet, peer, elsewhere))
                timer.daemon = True
                timer.start()
            elif packet is not None:
                self.say(packet, peer, elsewhere)

    def serve(self, s):
        """One TCP connection; questions one after another."""
        try:
            with s, s.makefile('rb') as f:
                s.settimeout(30)
                while True:
                    head = f.read(2)
                    if len(head) < 2:
                        return
                    q = f.read(struct.unpack('>H', head)[0])
                    got = self.answers(q, True)
                    if not got:
                        f.read(1)  # as long as the other side stays
                        return
                    for late, packet, _ in got:
                        if late:
                            threading.Event().wait(late)
                        if packet is None:
                            return
                        cut = len(got) > 1 and got[1][1] is None
                        s.sendall(struct.pack('>H', len(packet)) + (packet[:len(packet) // 2] if cut else packet))
        except (OSError, IndexError, struct.error):
            pass

    def run(self):
        while True:
            try:
                for ready in select.select([self.sock, self.tcp], [], [])[0]:
                    if ready is self.tcp:
                        s, _ = self.tcp.accept()
                        threading.Thread(target=self.serve, args=(s,), daemon=True).start()
                    else:
                        self.one()
            except (OSError, IndexError, struct.error, ValueError):
                if self.sock.fileno() < 0:
                    return

    def stop(self):
        self.sock.close()
        self.tcp.close()

# SPDX-License-Identifier: BSD-2-Clause
"""What sessions.py plays: random restriction lists, tables, settings, identities and messages, all from a seed; the zones
that both gateways see; the policy server's answers.

In settings @TABLES@ is the directory of the tables, @HUB@ the hub behind this gateway, @POLICY@ its policy server.
"""

import random
import zlib

COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydestination = here.example, gw.example
local_recipient_maps = inline:{ {luser=x}, {ext+x@here.example=x}, {full@here.example=x}, {owner-list=x} }
local_transport = smtp:@HUB@
relayhost = @HUB@
alias_maps =
alias_database =
recipient_delimiter = +
mynetworks = 127.0.0.2, !127.0.1.9, 127.0.1.0/24, [2001:db8:5::]/48
relay_domains = example.org any.example !no.any2.example any2.example .dot.example nullmx.example nowhere.example
relay_recipient_maps = inline:{{known@example.org=x}, {known2@example.org=x}, {listed@any2.example=x}, {@any.example=x},
  {@sub.any.example=x}, {dis@example.org=x}, {later@example.org=x}, {@nullmx.example=x}, {@nowhere.example=x}}
virtual_mailbox_domains = box.example
virtual_mailbox_maps = inline:{{user@box.example=x}, {@sub.box.example=x}}
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{{user@alias.example=u@any.example}, {aliased@example.org=x@any.example},
  {many@alias.example=one@any.example two@any.example user@alias.example}, {loop@alias.example=loop@alias.example}}
transport_maps = inline:{{dis@example.org = error:5.2.1 mailbox disabled}, {later@example.org=retry:4.2.0 wait},
  {closed.any.example=error:closed}, {.deep.any.example=error:5.7.9 deep}}
virtual_transport = smtp:@HUB@
inet_protocols = all
inet_interfaces = 127.0.0.1
mail_name = Mail
syslog_name = postfix
smtpd_banner = $myhostname ESMTP
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_soft_error_limit = 1000
smtpd_junk_command_limit = 1000
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_discard_ehlo_keywords = etrn, chunking
smtp_connection_cache_on_demand = no
smtpd_policy_service_max_idle = 300s
smtpd_policy_service_try_limit = 1
enable_long_queue_ids = yes
notify_classes =
local_header_rewrite_clients = permit_inet_interfaces
smtpd_restriction_classes = cls1, cls2, cls3
cls1 = permit_mynetworks, reject_non_fqdn_sender
cls2 = check_sender_access inline:{{spam.example=REJECT cls2 spam}, {ok.example=OK}}, warn_if_reject reject
cls3 = defer_if_permit, cls1
'''

TABLES = {
    'hash-access': 'sender.example DUNNO\nspam.example REJECT spam from a hash table\nx@spam.example OK\nokay.example OK\n'
                   '192.0.2 450 4.7.1 wait\nmail.spam.example REJECT\nknown@ WARN known user\n',
    'text-access': 'x@ REJECT user x\nexample.org DUNNO\nelsewhere.example REJECT 5.7.7 not there\nbulk+e@ DISCARD\n',
}

SOA = '@ SOA ns.test. root.test. 1 3600 600 86400 60\n'
ZONES = {
    '.': SOA + '''@ NS ns.test.
ns.test. A 127.0.0.53
sender.example. MX 10 mx.sender.example.
mx.sender.example. A 192.0.2.50
spam.example. A 192.0.2.7
mail.spam.example. A 192.0.2.8
sub.spam.example. MX 5 mail.spam.example.
ok.example. A 198.51.100.1
c.example. A 192.0.2.60
x.example. MX 10 mx1.x.example.
x.example. MX 20 mail.spam.example.
mx1.x.example. A 198.51.100.7
v6.example. AAAA 2001:db8:6::9
text.example. TXT "nothing else"
nullmx.example. MX 0 .
badmx.example. MX 10 no-such-host.example.
litmx.example. MX 10 192.0.2.77.
alias1.example. CNAME sender.example.
alias2.example. CNAME alias1.example.
dangling.example. CNAME nothing.example.
loop1.example. CNAME loop2.example.
loop2.example. CNAME loop1.example.
example.org. MX 10 mx.example.com.
mx.example.com. A 127.0.0.1
any.example. A 192.0.2.90
elsewhere.example. MX 10 mx.elsewhere.example.
mx.elsewhere.example. A 203.0.113.5
localmx.example. MX 10 loophost.example.
loophost.example. A 127.0.0.1
host.trusted.example. AAAA 2001:db8:6::9
8.2.0.192.in-addr.arpa. PTR mail.spam.example.
8.2.0.192.bl.test. A 127.0.0.4
8.2.0.192.bl.test. TXT "see http://bl.test/"
7.2.0.192.bl.test. A 127.0.0.9
1.100.51.198.wl.test. A 127.0.0.1
7.2.0.192.wl.test. A 127.0.0.1
spam.example.names.test. A 127.0.0.2
mail.spam.example.names.test. A 127.0.0.2
sender.example.names.test. A 127.0.0.3
sender.example.names.test. TXT "one"
sender.example.names.test. TXT "two $client"
any.example.names.test. A 127.0.0.2
''',
    'own.example.': SOA + '@ NS ns1.own.example.\n@ NS ns.test.\n@ A 192.0.2.44\nns1 A 198.51.100.9\nwww A 192.0.2.45\n',
    'down.test.': None,
    'broken.example.': None,     # nsd has no data for it: SERVFAIL
}

ACTIONS = [
    'OK', 'RELAY', 'DUNNO', 'DUNNO', 'REJECT', 'REJECT no thanks', 'REJECT 5.1.1 nobody', 'REJECT 5.1.8 dom', 'reject 4.7.9 odd', 'DEFER', 'DEFER wait a bit',
    'DEFER 4.2.2 full', '450 try', '550 5.1.3 x', '451 5.1.7 y', '550 5.7.1 gone', 'DEFER_IF_PERMIT', 'DEFER_IF_PERMIT 4.2.1 dip', 'DEFER_IF_REJECT',
    'DEFER_IF_REJECT hmm', 'DISCARD', 'HOLD', 'HOLD it', 'INFO x', 'WARN w', '123456', 'cls1', 'cls2', 'cls3', 'permit_mynetworks, reject', 'reject', 'defer', 'permit',
    'warn_if_reject reject, defer', 'reject_non_fqdn_sender reject_unauth_destination', 'nonsense', 'reject_unlisted_recipient', '5.1.1 what', '599 5.1.6 m',
    '450 4.1.2 z', 'REJECT 5.1.4', 'REJECT 5.2.4 z', 'defer_if_permit', '421 4.7.0 go away', '521 5.7.1 never come back',
    'PREPEND X-One: 1', 'PREPEND X-Two: two words', 'PREPEND X-Three: 3', 'PREPEND no header', 'PREPEND', 'BCC extra@any.example', 'BCC second@any.example', 'BCC broken',
    'BCC', 'REDIRECT other@any.example', 'REDIRECT third@example.org', 'REDIRECT', 'REDIRECT nowhere', 'FILTER smtp:@HUB@', 'FILTER nonsense', 'FILTER smtp:', 'FILTER',
    'reject_unknown_sender_domain', 'reject_unknown_recipient_domain', 'reject_unknown_sender_domain, reject_unknown_helo_hostname',
]
SENDERS = [
    '', 'a@sender.example', 'x@spam.example', 'x@sub.spam.example', 'y@ok.example', 'a', 'a@b', 'nobody@here.example', 'luser@here.example',
    'nobody@example.org', 'known@example.org', 'bulk@x.example', 'bulk+e@x.example', 'a@[192.0.2.1]', 'a%b@sender.example', 'user@box.example',
    'no@box.example', 'no@alias.example', 'luser', 'b!a@c.example', 'n@nullmx.example', 'n@nothing.example', 'n@text.example', 'n@broken.example',
    'n@badmx.example', 'n@alias1.example', 'n@alias2.example', 'n@dangling.example', 'n@v6.example', 'n@own.example', 'n@www.own.example', 'n@refused.test',
    'n@localmx.example', 'n@loop1.example', 'n@litmx.example',
]
RECIPIENTS = [
    'known@example.org', 'known@example.org', 'known2@example.org', 'KNOWN@Example.ORG', 'known+e@example.org', 'nobody@example.org', 'x@elsewhere.example',
    'x@any.example', 'y@sub.any.example', 'x@no.any2.example', 'listed@any2.example', 'x@any2.example', 'x@dot.example', 'x@sub.dot.example', 'postmaster',
    'postmaster@here.example', 'postmaster@example.org', 'luser@here.example', 'luser+ext@here.example', 'ext+x@here.example', 'ext+y@here.example',
    'full@here.example', 'full@gw.example', 'nobody@here.example', 'user@box.example', 'no@box.example', 'x@sub.box.example', 'user@alias.example',
    'no@alias.example', 'many@alias.example', 'aliased@example.org', 'dis@example.org', 'later@example.org', 'x@closed.any.example', 'x@a.deep.any.example',
    'x%elsewhere.example@example.org', 'x%elsewhere.example@here.example', 'x%any.example@here.example', 'known%example.org@here.example',
    'elsewhere.example!x@here.example', 'example.org!known@gw.example', 'a!b!c@here.example', 'x@elsewhere.example@here.example', 'luser', 'nouser',
    'x@[127.0.0.1]', 'luser@[127.0.0.1]', 'x@[192.0.2.9]', 'mailer-daemon@here.example', 'double-bounce@here.example',
    'bulk@any.example', 'bulk+q@any.example', 'x@spam.example', '-x@example.org', 'n@nullmx.example', 'n@nowhere.example', 'n@broken.example', 'n@nothing.example',
    'x%any.example', 'any.example!x', 'double-bounce@example.org', 'a%@here.example', '%a@here.example', '!a@here.example', 'a!@here.example',
    'x%example.org%here.example', 'x@here.example@any.example', 'x%-y@here.example',
    'n@own.example', 'n@badmx.example', '"quoted user"@any.example', 'u@alias1.example', 'n@localmx.example',
]
WORDS = ['luser', 'known', 'v', 'a+b', 'luser+x', '-d', 'here.example', 'gw.example', 'example.org', 'any.example', 'elsewhere.example', 'mx.example.com',
         'HERE.example', 'box.example', 'alias.example', 'x.y']
HELOS = ['c.example', 'a', '[192.0.2.1]', '[192.0.2]', 'a..example', '192.0.2.1', 'mail.spam.example', 'spam.example', 'x_y.example', 'nothing.example',
         'text.example', 'broken.example', 'nullmx.example', 'sender.example', 'own.example', 'www.own.example', 'alias2.example', 'v6.example', 'badmx.example',
         'loop1.example']
# address, NAME, REVERSE_NAME as XCLIENT says them
CLIENTS = [
    ('127.0.0.2', '[UNAVAILABLE]', '[UNAVAILABLE]'), ('192.0.2.7', '[UNAVAILABLE]', 'spam.example'), ('192.0.2.8', 'mail.spam.example', 'mail.spam.example'),
    ('127.0.1.9', '[UNAVAILABLE]', '[UNAVAILABLE]'), ('127.0.1.77', 'inside.here.example', 'inside.here.example'), ('2001:db8:5::9', '[UNAVAILABLE]', '[UNAVAILABLE]'),
    ('2001:db8:6::9', 'host.trusted.example', 'host.trusted.example'), ('198.51.100.1', 'ok.example', 'ok.example'), ('192.0.2.9', '[TEMPUNAVAIL]', '[TEMPUNAVAIL]'),
    ('203.0.113.9', '[TEMPUNAVAIL]', 'x.example'), ('203.0.113.10', 'www.own.example', 'www.own.example'), ('203.0.113.11', 'nothing.example', 'other.example'),
]
KEYS = {
    'client': ['mail.spam.example', 'spam.example', 'example', '.example', '192.0.2.7', '192.0.2', '192', 'unknown', '127.0', '2001:db8:5::9', '2001:db8',
               'ok.example', '198.51.100.1', '198.51', 'own.example', 'x.example'],
    'helo': ['c.example', 'example', 'spam.example', 'a', '[192.0.2.1]', '192.0.2.1', '192.0.2', 'own.example'],
    'address': ['a@sender.example', 'sender.example', 'spam.example', 'x@', 'bulk@', 'bulk+e@x.example', 'bulk+e@', 'example', '<>', 'ok.example', 'b',
                'here.example', 'known@example.org', 'known@', 'example.org', 'org', 'nobody@', 'any.example', 'x@any.example', 'box.example',
                'mx.example.com', 'luser@', 'luser@here.example', 'postmaster@', 'elsewhere.example', 'bulk@any.example', 'alias.example', 'dis@',
                'x@elsewhere.example'],
    'host': ['mx.sender.example', 'sender.example', 'mail.spam.example', '192.0.2', '192.0.2.50', '198.51.100', '127.0.0.1', '2001:db8', 'mx1.x.example', 'example',
             'ns.test', 'ns1.own.example', '127.0.0.53', '198.51.100.9', '192.0.2.44', 'nothing.example', 'text.example', 'mx.elsewhere.example', 'test'],
}
NETS = ['192.0.2.0/24', '!192.0.2.0/25', '127.0.0.0/8', '2001:db8:5::/48', '198.51.100.1', '0.0.0.0/0', '203.0.113.8/29']
PATTERNS = [r'/^x@/', r'/example\.org$/', r'/^(.*)@spam\.example$/', r'!/example/', r'/SPAM/', r'/^192\.0\.2\.(\d+)$/', r'/^(known)(2?)@/', r'/./', r'/^[^@]*\.own\.example$/', r'/unknown/']
PLAIN = [
    'permit_mynetworks', 'permit_mynetworks', 'reject_unauth_destination', 'defer_unauth_destination', 'permit_auth_destination',
    'reject_unlisted_recipient', 'reject_non_fqdn_sender', 'reject_non_fqdn_recipient', 'reject_non_fqdn_helo_hostname', 'reject_invalid_helo_hostname',
    'warn_if_reject', 'warn_if_reject', 'defer_if_permit', 'defer_if_reject', 'permit_sasl_authenticated', 'permit_tls_clientcerts',
    'permit_tls_all_clientcerts', 'cls1', 'cls2', 'cls3', 'reject', 'defer', 'reject_plaintext_session', 'reject_unauth_pipelining',
    'reject_unknown_client_hostname', 'reject_unknown_reverse_client_hostname', 'reject_multi_recipient_bounce', 'reject_multi_recipient_bounce',
]
LISTS = ['reject_rbl_client bl.test', 'reject_rbl_client bl.test=127.0.0.[2..5]', 'reject_rbl_client down.test', 'permit_dnswl_client wl.test', 'permit_dnswl_client down.test',
         'reject_rhsbl_client names.test', 'reject_rhsbl_reverse_client names.test', 'reject_rhsbl_helo names.test', 'reject_rhsbl_sender names.test',
         'reject_rhsbl_recipient names.test', 'permit_rhswl_client names.test', 'reject_rhsbl_sender names.test=127.0.0.3']
DNS = ['reject_unknown_helo_hostname', 'reject_unknown_sender_domain', 'reject_unknown_recipient_domain']


def policy_action(asked):
    """The policy server's answer: the same for the same question."""
    text = '|'.join(asked.get(k, '') for k in ('protocol_state', 'sender', 'recipient', 'helo_name', 'client_address', 'client_name'))
    pick = ['DUNNO', 'DUNNO', 'OK', 'REJECT by policy', '450 4.7.1 by policy', 'defer_if_permit policy says so', 'PREPEND X-Policy: yes', 'WARN policy', 'DUNNO',
            'REJECT', 'reject_unauth_destination', 'permit_mynetworks', 'INFO ok', '550 5.7.1 policy']
    return pick[zlib.crc32(text.encode('latin-1')) % len(pick)]


class Maker:
    def __init__(self, seed, is_batch=False):
        self.seed = seed
        self.r = random.Random(f'{seed} batch' if is_batch else seed)
        self.files = {}
        self.main = self.batch_settings() if is_batch else ''

    def batch_settings(self):
        """Of all services together: what -o does not reach."""
        r = self.r
        return ''.join(f'{name} = {value}\n' for name, value, share in (
            ('allow_percent_hack', 'no', .2), ('swap_bangpath', 'no', .2), ('resolve_dequoted_address', 'no', .1), ('append_dot_mydomain', 'no', .2),
            ('parent_domain_matches_subdomains', '', .1), ('recipient_delimiter', '+-', .1), ('virtual_mailbox_domains', '', .05),
            ('show_user_unknown_table_name', 'no', .2), ('always_bcc', 'archive@any.example', .1)) if r.random() < share)

    # ---- tables

    def action(self):
        return self.r.choice(ACTIONS)

    def table(self, kind):
        r = self.r
        form = r.choice(['inline', 'inline', 'inline', 'static', 'cidr' if kind in ('client', 'host') else 'inline', 'pcre', 'regexp', 'hash', 'texthash', 'union', 'pipe'])
        if form == 'static':
            return 'static:{%s}' % self.action()
        if form == 'cidr':
            return 'cidr:{%s}' % ', '.join('{%s %s}' % (r.choice(NETS), self.action()) for _ in range(r.randint(1, 3)))
        if form in ('pcre', 'regexp'):
            rules = []
            for _ in range(r.randint(1, 3)):
                pattern = r.choice(PATTERNS)
                action = self.action()
                groups = pattern.count('(')
                if groups and pattern[0] != '!' and r.random() < .5:
                    action = f'REJECT found ${r.randint(1, groups)} and ${{{groups}}}x'
                if form == 'regexp':
                    pattern = pattern.replace(r'\d', '[0-9]')
                rules.append(f'{pattern} {action}')
            if r.random() < .2:
                rules[0] = f'if /example/\n{rules[0]}\nendif'
            name = f'{form}-{self.seed}-{len(self.files)}'
            self.files[name] = '\n'.join(rules) + '\n'
            return f'{form}:@TABLES@/{name}'
        if form == 'hash':
            return 'hash:@TABLES@/hash-access'
        if form == 'texthash':
            return 'texthash:@TABLES@/text-access'
        inline = 'inline:{%s}' % ', '.join('{%s = %s}' % (k, self.action()) for k in r.sample(KEYS[kind], r.randint(1, 4)))
        if form == 'union':
            return 'unionmap:{%s, inline:{{%s = %s}}}' % (inline, r.choice(KEYS[kind]), r.choice(['DUNNO', 'reject', 'WARN x']))
        if form == 'pipe':
            key = r.choice(KEYS[kind])
            return 'pipemap:{inline:{{%s = k1}}, inline:{{k1 = %s}}}' % (key, self.action())
        return inline

    def item(self, place):
        r = self.r
        k = r.random()
        if k < .30:
            c = r.choice(['client', 'helo', 'sender', 'recipient'])
            return f'check_{c}_access ' + self.table(c if c in KEYS else 'address')
        if k < .34 and place != 'data':
            return self.table(place if place in KEYS else 'address')
        if k < .37:
            return 'check_reverse_client_hostname_access ' + self.table('client')
        if k < .38:
            return f'check_{r.choice(["client", "helo", "sender", "recipient"])}_access fail:x'
        if k < .41 and place in ('sender', 'recipient'):
            return 'reject_unlisted_sender'
        if k < .45:
            return r.choice(LISTS)
        if k < .51:
            return r.choice(DNS)
        if k < .58:
            who = r.choice(['client', 'reverse_client_hostname', 'helo', 'sender', 'recipient'])
            return f'check_{who}_{r.choice(["a", "mx", "mx", "ns"])}_access ' + self.table('host')
        if k < .63:
            return r.choice(['check_policy_service @POLICY@', 'check_policy_service { @POLICY@, timeout=10s }'])
        return r.choice(PLAIN)

    def service(self, batch):
        r, c = self.r, {}
        for place, share in (('client', .3), ('helo', .3), ('sender', .4), ('recipient', .7), ('data', .15), ('end_of_data', .1)):
            n = r.randint(1, 4) if r.random() < share else 0
            c[f'smtpd_{place}_restrictions'] = ', '.join(self.item('data' if place == 'end_of_data' else place) for _ in range(n))
        c['smtpd_relay_restrictions'] = r.choice([
            'permit_mynetworks, reject_unauth_destination', 'permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination',
            f'permit_mynetworks, {self.item("recipient")}, reject_unauth_destination', 'defer_if_permit', 'reject_unauth_destination'])
        for name, value, share in (
                ('smtpd_delay_reject', 'no', .15), ('soft_bounce', 'yes', .15), ('smtpd_reject_unlisted_recipient', 'no', .2),
                ('smtpd_reject_unlisted_sender', 'yes', .3), ('smtpd_relay_before_recipient_restrictions', 'no', .2), ('access_map_reject_code', '553', .1),
                ('unknown_relay_recipient_reject_code', '450', .1), ('relay_domains_reject_code', '550', .1), ('smtpd_null_access_lookup_key', 'null', .1),
                ('unknown_address_reject_code', '550', .2), ('unknown_hostname_reject_code', '550', .2), ('unknown_client_reject_code', '550', .2),
                ('unknown_address_tempfail_action', 'defer', .1), ('unknown_helo_hostname_tempfail_action', 'defer', .1), ('reject_tempfail_action', 'defer', .1),
                ('smtpd_reject_footer', r'\c. For assistance, call $client_address', .08), ('smtpd_reject_footer', r'See http://help.example/ \nfor $server_name', .08),
                ('default_rbl_reply', '$rbl_code no: $rbl_class $rbl_what $rbl_domain ${rbl_reason?$rbl_reason} $client $helo_name $sender $recipient', .1),
                ('maps_rbl_reject_code', '450', .1), ('smtpd_helo_required', 'yes', .1), ('smtpd_sasl_auth_enable', 'no', .02),
                ('smtpd_log_access_permit_actions', 'static:all', .05), ('access_map_defer_code', '451', .05), ('defer_code', '451', .05)):
            if r.random() < share:
                c[name] = value
        return c

    # ---- sessions

    def address(self):
        """Words and domains with every operator between them."""
        r = self.r
        words = [r.choice(WORDS) for _ in range(r.randint(2, 5))]
        return words[0] + ''.join(r.choice('@%!@') + w for w in words[1:])

    def session(self, tag):
        r = self.r
        addr, name, reverse = r.choice(CLIENTS)
        attributes = [f'NAME={name}', 'ADDR=' + (f'IPV6:{addr}' if ':' in addr else addr), f'REVERSE_NAME={reverse}']
        if r.random() < .1:
            attributes.append('PORT=4711')
        mails = []
        for k in range(r.choice([1, 1, 1, 2])):
            rcpts = [self.address() if r.random() < .2 else r.choice(RECIPIENTS) for _ in range(r.choice([1, 1, 2, 3]))]
            sender = self.address() if r.random() < .05 else r.choice(SENDERS)
            mails.append({'sender': sender, 'options': r.choice(['', '', '', ' SIZE=1000', ' BODY=8BITMIME']), 'rcpts': rcpts, 'content': (
                f'X-Tag: {tag}-{k}\r\nFrom: <a@sender.example>\r\nTo: b@any.example, "C, D" <cd@here.example>\r\nSubject: {tag}\r\n'
                f'Message-Id: <{tag}-{k}@test>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\ntext\r\n').encode()})
        return {'tag': tag, 'xclient': ' '.join(attributes), 'helo': r.choice(HELOS), 'mails': mails}

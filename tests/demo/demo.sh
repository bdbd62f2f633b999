#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# demo.sh - the gateway at work: started with the shipped conf.d on loopback, with the recording hub behind it
#
# Sends real messages and prints what the client heard and what became of each; not 0 when anything is not as
# it should be. Everything lives in a temporary directory (KEEP=1 leaves it there); no process stays behind.
# Environment: DOGANA, TOOLS (directory of hub and send), CORPUS (a folder of .eml files, default ../shared/corpora/mail).
set -u

top=$(cd "$(dirname "$0")/../.." && pwd)
dogana=${DOGANA:-$top/build/dogana}
tools=${TOOLS:-$top/build/release/tools}
corpus=${CORPUS:-$top/../shared/corpora/mail}
work=$(mktemp -d "${TMPDIR:-/tmp}/dogana-demo.XXXXXX") || exit 2
chmod 755 "$work"
etc=$work/etc
log=$work/log
wrong=0
gateway=
hub=

finish() {
	trap - EXIT INT TERM
	for pid in $gateway $hub; do
		kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	[ -n "${KEEP:-}" ] && echo "kept: $work" || rm -rf "$work"
	exit "$1"
}
trap 'finish 130' INT TERM
trap 'finish 2' EXIT

die() {
	echo "demo: $*" >&2
	[ -s "$log" ] && tail -n 15 "$log" >&2
	[ -s "$work/err" ] && tail -n 15 "$work/err" >&2
	finish 2
}

# until 10 COMMAND...: tries for so many seconds
until_true() {
	left=$(($1 * 20))
	shift
	while ! "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ "$left" -le 0 ] && return 1
		sleep 0.05
	done
}

# ---- the hub: refuses gone@, makes later@ wait once, takes the rest

"$tools/hub" -j "$work/hub.json" -d "$work/arrived" -r 'rcpt=gone@ reply 550 5.1.1 <gone@example.test>: no such mailbox' \
    -r 'rcpt=later@ times=1 reply 451 4.2.1 <later@example.test>: mailbox busy, come back' 0 >"$work/hub.out" 2>"$work/hub.err" </dev/null &
hub=$!
until_true 5 grep -q ports "$work/hub.out" || die "the hub does not start: $(cat "$work/hub.err")"
hubport=$(sed 's/[^0-9]//g' "$work/hub.out")
port=$("$tools/send" -P) || die "no free port"

# ---- the gateway: conf.d as shipped, and one more file

mkdir -p "$etc"
cp "$top"/conf.d/*.cf "$etc/" || die "no conf.d"
sed "s/^smtp  *inet /127.0.0.1:$port inet /" "$top/conf.d/master.cf" >"$etc/master.cf"
cat >"$etc/recipients" <<END
user@example.test x
later@example.test x
gone@example.test x
END
echo "example.test smtp:[127.0.0.1]:$hubport" >"$etc/transport"
"$dogana" -c "$etc" tls self-signed --name gw.example.test "$work/tls" >"$work/tls.cf" 2>"$work/err" || die "no certificate"
# Filters, as far as they were built: signatures of our own, and attachments that are programs go.
scans=
strips=
[ -x "$(dirname "$dogana")/dogana-virus" ] && scans="virus_engine = embedded
virus_database = $etc/demo.hdb
virus_header =
virus_notify ="
[ -x "$(dirname "$dogana")/dogana-attachments" ] && strips="attachment_rules = $etc/attachment-rules"
cat >"$etc/demo.hdb" <<END
44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature
aa15bcf478d165efd2065190eb473bcb:544:ClamAV-Test-File
END
echo 'strip extension=exe text=programs' >"$etc/attachment-rules"
chmod 644 "$etc/demo.hdb"
cat >"$etc/90-demo.cf" <<END
$scans
$strips
smtpd_tls_security_level = may
$(cat "$work/tls.cf")
myhostname = gw.example.test
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
relay_domains = example.test
relay_recipient_maps = texthash:$etc/recipients
transport_maps = texthash:$etc/transport
relayhost = [127.0.0.1]:$hubport
message_size_limit = 1000000
queue_minfree = 0
edge_user = 61001
queue_user = 61002
relay_user = 61003
keys_user = 61005
filter_user = 61007
queue_directory = $work/queue
data_directory = $work/data
maillog_file = /dev/stdout
END
"$dogana" -c "$etc" check >"$work/check" 2>&1 || die "check: $(cat "$work/check")"
"$dogana" -c "$etc" run >"$log" 2>"$work/err" </dev/null &
gateway=$!
until_true 15 grep -q 'daemon started' "$log" || die "the gateway does not start"
printf 'Gateway on 127.0.0.1:%s with the shipped conf.d, hub behind it on 127.0.0.1:%s.\n\n' "$port" "$hubport"
printf '%-26s %-54s %s\n' 'message' 'the client heard' 'what became of it'
printf '%-26s %-54s %s\n' '-------' '----------------' '-----------------'

# ---- sending

# What the log says about a queue id: sent, deferred, bounced
fate() {
	sed -n "s/.* $1: to=<.* status=\([a-z]*\).*/\1/p" "$log" | tail -n 1
}

row() {
	printf '%-26s %-54s %s\n' "$1" "$(printf %s "$2" | cut -c1-53)" "$3"
}

# expect NAME WANTED GOT: counts and marks what is wrong
expect() {
	case $3 in
	$2) return 0 ;;
	esac
	echo "    ^^^ not as expected: wanted $2, got: $3"
	wrong=$((wrong + 1))
}

# deliver NAME FILE TO FROM SOURCE: sets heard and qid
deliver() {
	heard=$("$tools/send" -p "$port" -b "$4" -f "$3" -t "$2" "$1") || :
	qid=$(printf %s "$heard" | sed -n 's/.*queued as \([0-9A-Za-z]*\).*/\1/p')
}

has_fate() {
	[ -n "$(fate "$1")" ]
}

# The content the hub got under our name for a message, without the Received header we added.
arrived() {
	n=$(sed -n "s/^{\"n\":\([0-9]*\),\"accepted\":true.*/\1/p" "$work/hub.json" | tail -n 1)
	awk 'skip && /^[ \t]/ { next } NR == 1 && /^Received:/ { skip = 1; next } { skip = 0; print }' "$work/arrived/$n.eml" | tr -d '\r'
}

# A Return-Path is for the last host to write: one that a message brings along is dropped (message_drop_headers).
without_return_path() {
	awk '/^$/ { body = 1 } !body && skip && /^[ \t]/ { next } { skip = !body && tolower($0) ~ /^return-path:/ } !skip { print }'
}

same=0
total=0
for file in "$top"/tests/demo/mail/*.eml; do
	deliver "$file" user@example.test anna@partner.example 127.0.0.1
	expect "$file" '250 *' "$heard"
	[ -n "$qid" ] && until_true 10 has_fate "$qid"
	became=$(fate "$qid")
	expect "$file" sent "$became"
	total=$((total + 1))
	if arrived | cmp -s - "$file"; then
		same=$((same + 1))
		became="delivered, octet for octet"
	fi
	row "$(basename "$file")" "$heard" "$became"
done
expect 'content' "$total" "$same"

if [ -d "$corpus" ]; then
	sent=0
	ok=0
	whole=0
	for file in $(find "$corpus" -name '*.eml' | sort | awk 'NR % 20 == 1'); do
		sent=$((sent + 1))
		deliver "$file" user@example.test list@partner.example 127.0.0.1
		[ -n "$qid" ] && until_true 10 has_fate "$qid" && [ "$(fate "$qid")" = sent ] && ok=$((ok + 1))
		tr -d '\r' <"$file" | without_return_path >"$work/sent"
		arrived | cmp -s - "$work/sent" && whole=$((whole + 1))
	done
	row "$sent real messages" "$heard" "$ok delivered, $whole octet for octet"
	expect real-octets "$sent" "$whole"
	expect corpus "$sent" "$ok"
fi

if command -v python3 >/dev/null; then
	# The certificate is its own authority here: the client verifies it, and the name.
	heard=$(python3 - "$port" "$work/tls/cert.pem" "$top/tests/demo/mail/hello.eml" <<'END'
import smtplib, ssl, sys
with smtplib.SMTP('127.0.0.1', int(sys.argv[1]), 'client.partner.example') as s:
    s._host = 'gw.example.test'
    s.starttls(context=ssl.create_default_context(cafile=sys.argv[2]))
    s.ehlo()
    s.mail('anna@partner.example')
    s.rcpt('user@example.test')
    code, text = s.data(open(sys.argv[3], 'rb').read())
    print(code, text.decode(), '(' + s.sock.version() + ', verified)')
END
	) || :
	qid=$(printf %s "$heard" | sed -n 's/.*queued as \([0-9A-Za-z]*\).*/\1/p')
	[ -n "$qid" ] && until_true 10 has_fate "$qid"
	row 'hello.eml over STARTTLS' "$(printf %s "$heard" | sed 's/ Ok: queued as//')" "$(fate "$qid")"
	expect starttls '250 *TLSv1.3, verified*' "$heard"
	expect starttls-sent sent "$(fate "$qid")"
fi

deliver "$top/tests/demo/mail/hello.eml" someone@elsewhere.example spammer@partner.example 127.0.0.1
row 'to a foreign domain' "$heard" 'refused: relay denied'
expect relay '554 5.7.1 *Relay access denied' "$heard"

deliver "$top/tests/demo/mail/hello.eml" nobody@example.test anna@partner.example 127.0.0.1
row 'to an unknown user' "$heard" 'refused: unknown recipient'
expect unknown '550 5.1.1 *User unknown*' "$heard"

awk 'BEGIN { print "Subject: large\n"; for (i = 0; i < 20000; i++) print "sixty characters of text in a line that is not very new ..." }' >"$work/large.eml"
deliver "$work/large.eml" user@example.test anna@partner.example 127.0.0.1
row '1.2 MB' "$heard" 'refused: too large'
expect large '552 5.3.4 *' "$heard"

deliver "$top/tests/demo/mail/hello.eml" partner@elsewhere.example user@example.test 127.0.0.9
[ -n "$qid" ] && until_true 10 has_fate "$qid"
row 'outgoing, from mynetworks' "$heard" "$(fate "$qid") through relayhost"
expect outgoing sent "$(fate "$qid")"

deliver "$top/tests/demo/mail/hello.eml" later@example.test anna@partner.example 127.0.0.1
late=$qid
[ -n "$qid" ] && until_true 10 has_fate "$qid"
first=$(fate "$qid")
expect deferred deferred "$first"
queued=$("$dogana" -c "$etc" queue list 2>&1)
expect listed "*$late*" "$queued"
"$dogana" -c "$etc" queue flush >/dev/null || expect flush 'exit status 0' 'another'
is_sent() {
	[ "$(fate "$1")" = sent ]
}
[ -n "$qid" ] && until_true 10 is_sent "$qid"
row 'hub busy at first' "$heard" "$first, then $(fate "$qid") (queue flush)"
expect delivered-later sent "$(fate "$qid")"

deliver "$top/tests/demo/mail/hello.eml" gone@example.test anna@partner.example 127.0.0.1
[ -n "$qid" ] && until_true 10 has_fate "$qid"
until_true 10 grep -q "$qid: sender non-delivery notification" "$log"
report=$(sed -n "s/.* $qid: sender non-delivery notification: \([0-9A-Za-z]*\).*/\1/p" "$log")
[ -n "$report" ] && until_true 10 has_fate "$report"
row 'hub says: no such mailbox' "$heard" "$(fate "$qid"), report to the sender: $(fate "$report")"
expect bounced bounced "$(fate "$qid")"
expect report sent "$(fate "$report")"

# ---- what filters hold, and a release

held_list=
if [ -n "$strips" ]; then
	cat >"$work/program.eml" <<'END'
From: anna@partner.example
To: user@example.test
Subject: our new program
Date: Mon, 23 Nov 2026 10:00:00 +0100
Message-ID: <program@partner.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=B

--B
Content-Type: text/plain

Please have a look.
--B
Content-Type: application/octet-stream; name=program.exe
Content-Transfer-Encoding: base64

TVqQAAMAAAAEAAAA
--B--
END
	deliver "$work/program.eml" user@example.test anna@partner.example 127.0.0.1
	[ -n "$qid" ] && until_true 10 has_fate "$qid"
	row 'a program attached' "$heard" "$(fate "$qid") without it, the original is held"
	expect attachment sent "$(fate "$qid")"
	expect stripped '*program.exe*' "$(arrived)"
	expect stripped-away 0 "$(arrived | grep -c TVqQ)"
	until_true 10 grep -q 'status=held (attachment: program.exe' "$log" || expect original-held 'status=held' none
	held_list=$("$dogana" -c "$etc" quarantine list --reason attachment 2>&1)
	original=$("$dogana" -c "$etc" quarantine list --json --reason attachment --limit 1 | sed -n 's/^{"queue_id": "\([0-9A-Za-z]*\)".*/\1/p')
fi
if [ -n "$scans" ]; then
	# in two pieces, so that no scanner takes this script for one
	{
		printf 'Subject: harmless\nMIME-Version: 1.0\nContent-Type: application/octet-stream; name=eicar.com\nContent-Transfer-Encoding: base64\n\n'
		printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$' 'EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*' | base64
	} >"$work/eicar.eml"
	deliver "$work/eicar.eml" user@example.test anna@partner.example 127.0.0.1
	[ -n "$qid" ] && until_true 10 has_fate "$qid"
	row 'a virus (EICAR)' "$heard" "$(sed -n "s/.* $qid: to=<.* status=\(held ([^)]*)\).*/\1/p" "$log" | tail -n 1)"
	expect virus held "$(fate "$qid")"
	held_list=$("$dogana" -c "$etc" quarantine list 2>&1)
	expect virus-listed "*$qid*virus*Eicar-Test-Signature*" "$held_list"
fi
if [ -n "$strips" ]; then
	heard=$("$dogana" -c "$etc" quarantine release "$original" 2>&1)
	released=$(printf %s "$heard" | sed -n 's/.*released as \([0-9A-Za-z]*\).*/\1/p')
	[ -n "$released" ] && until_true 10 has_fate "$released"
	became=$(fate "$released")
	expect released sent "$became"
	# with two headers of ours, of the arrival and of the release
	if arrived | sed -n '/^From: anna/,$p' | cmp -s - "$work/program.eml"; then
		became="delivered, octet for octet"
	fi
	row 'the original, released' "$heard" "$became"
	expect released-content 'delivered, octet for octet' "$became"
fi

# ---- the story of one message, and the end

printf '\nThe message that had to wait, in the log:\n'
grep -F "$late: " "$log"
printf '\nWhat the queue list said meanwhile:\n%s\n' "$queued"
[ -n "$held_list" ] && printf '\nWhat the quarantine held (quarantine list):\n%s\n' "$held_list"
kill "$gateway"
wait "$gateway"
status=$?
gateway=
expect 'clean stop' 0 "$status"
if grep -E 'panic:|Sanitizer|runtime error' "$log" "$work/err"; then
	wrong=$((wrong + 1))
fi
if [ "$wrong" -gt 0 ]; then
	echo "demo: $wrong things were not as expected"
	tail -n 20 "$work/err" >&2
	finish 1
fi
cat <<'END'

All as expected. Next: README.md (a gateway in front of your hub in five minutes), conf.d/ (the configuration
just used), `make test`, `build/dogana -c DIR check|run|queue list|status|conf -n`.
END
finish 0

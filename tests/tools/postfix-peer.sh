#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# postfix-peer.sh - run Debian's Postfix from build/peers beside us
#
#   postfix-peer.sh start DIR PORT NEXTHOP    listens on 127.0.0.1:PORT, returns when it answers
#   postfix-peer.sh stop DIR                  returns when its master is gone
#   postfix-peer.sh run DIR COMMAND ARGS...   postqueue, postconf, ... with this instance's configuration
#
# NEXTHOP: [host]:port to relay to, `discard', or `maildir' (each recipient's copy becomes a file in
# DIR/mail/inbox/new). Everything it has is below DIR: etc, queue, data, log. Lines in DIR/extra.cf and
# DIR/extra-master.cf, when there before the start, are added to main.cf and master.cf and win.
# Settings are Debian's defaults but for the names, so that it can be an opponent as it can be a hub.
# Needs root, as Postfix's master does: exit status 77 (skipped) without.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
PEERS=${PEERS:-$(cd "$here/../.." && pwd)/build/peers}
owner=mail
group=uucp

die() {
	echo "postfix-peer: $*" >&2
	exit 1
}

[ $# -ge 2 ] || die "usage: start DIR PORT NEXTHOP | stop DIR | run DIR COMMAND ARGS..."
cmd=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 2
if [ "$(id -u)" != 0 ]; then
	echo "postfix-peer: skipped: Postfix's master needs root" >&2
	exit 77
fi
# shellcheck source=tests/tools/peer-env.sh
. "$here/peer-env.sh"
MAIL_CONFIG=$dir/etc
sbin=$PEER_ROOT/usr/lib/postfix/sbin

main_cf() {
	cat <<-END
	compatibility_level = 3.6
	myhostname = mx.example.com
	mydestination =
	mynetworks = 127.0.0.0/8
	inet_interfaces = 127.0.0.1
	inet_protocols = ipv4
	smtp_address_preference = ipv4
	alias_maps =
	alias_database =
	smtpd_banner = \$myhostname ESMTP \$mail_name
	daemon_directory = $sbin
	command_directory = $PEER_ROOT/usr/sbin
	shlib_directory = $PEER_ROOT/usr/lib/postfix
	meta_directory = $dir/etc
	queue_directory = $dir/queue
	data_directory = $dir/data
	maillog_file = $dir/log
	maillog_file_prefixes = $dir
	mail_owner = $owner
	setgid_group = $group
	import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH=$LD_LIBRARY_PATH
	END
	case $1 in
	discard) echo 'default_transport = discard:peer' ;;
	maildir) printf '%s\n' 'default_transport = virtual' 'virtual_mailbox_maps = static:inbox/' \
	    "virtual_mailbox_base = $dir/mail" "virtual_uid_maps = static:$(id -u $owner)" \
	    "virtual_gid_maps = static:$(id -g $owner)" \
	    'virtual_minimum_uid = 1' ;;
	*) echo "relayhost = $1" ;;
	esac
}

# The first file's lines but for parameters the second one sets, then the second. A parameter set twice would
# make each daemon warn while it starts, and postlogd, whose log those warnings go to, can block on its own socket.
merge() {
	awk 'FILENAME == ARGV[1] { own[$1] = /^[^ \t#]/; next } !($1 in own)' "$2" "$1"
	cat "$2"
}

master_cf() {
	cat <<-END
	127.0.0.1:$1 inet n - n - - smtpd
	pickup    unix  n - n 60 1 pickup
	cleanup   unix  n - n - 0 cleanup
	qmgr      unix  n - n 300 1 qmgr
	tlsmgr    unix  - - n 1000? 1 tlsmgr
	rewrite   unix  - - n - - trivial-rewrite
	bounce    unix  - - n - 0 bounce
	defer     unix  - - n - 0 bounce
	trace     unix  - - n - 0 bounce
	verify    unix  - - n - 1 verify
	flush     unix  n - n 1000? 0 flush
	proxymap  unix  - - n - - proxymap
	proxywrite unix - - n - 1 proxymap
	smtp      unix  - - n - - smtp
	relay     unix  - - n - - smtp
	showq     unix  n - n - - showq
	error     unix  - - n - - error
	retry     unix  - - n - - error
	discard   unix  - - n - - discard
	virtual   unix  - n n - - virtual
	lmtp      unix  - - n - - lmtp
	anvil     unix  - - n - 1 anvil
	scache    unix  - - n - 1 scache
	postlog   unix-dgram n - n - 1 postlogd
	END
}

directories() {
	mkdir -p "$dir/etc" "$dir/queue/pid" "$dir/data" "$dir/mail"
	for d in active bounce corrupt defer deferred flush hold incoming private saved trace; do
		install -d -o $owner -m 700 "$dir/queue/$d"
	done
	install -d -o $owner -g $group -m 730 "$dir/queue/maildrop"
	install -d -o $owner -g $group -m 710 "$dir/queue/public"
	chown $owner "$dir/data" "$dir/mail"
	chmod 700 "$dir/data"
}

master_pid() {
	[ -s "$dir/queue/pid/master.pid" ] && tr -d ' \n' <"$dir/queue/pid/master.pid"
}

running() {
	pid=$(master_pid) && [ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$sbin/master")" ]
}

answers() {
	/usr/bin/python3 -c 'import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
s.settimeout(30)
sys.exit(s.recv(3) != b"220")' "$1" 2>/dev/null
}

case $cmd in
start)
	[ $# = 2 ] || die "usage: start DIR PORT NEXTHOP"
	[ -x "$sbin/master" ] || die "no Postfix in $PEERS: run tests/tools/peers.sh postfix"
	running && die "already running in $dir"
	directories
	cp "$PEER_ROOT/usr/share/postfix/dynamicmaps.cf" "$dir/etc/"
	[ -e "$dir/extra.cf" ] || echo '# nothing to add' >"$dir/extra.cf"
	main_cf "$2" >"$dir/etc/main.base"
	merge "$dir/etc/main.base" "$dir/extra.cf" >"$dir/etc/main.cf"
	{ master_cf "$1"; cat "$dir/extra-master.cf" 2>/dev/null || true; } >"$dir/etc/master.cf"
	"$sbin/master" -c "$dir/etc" -w </dev/null >"$dir/master.out" 2>&1 ||
	    die "master does not start: $(tail -n 3 "$dir/master.out" "$dir/log" 2>/dev/null)"
	i=0
	until answers "$1"; do
		i=$((i + 1))
		[ $i -lt 50 ] && running || die "no answer on port $1: $(tail -n 3 "$dir/log")"
		sleep 0.1
	done
	;;
stop)
	running || exit 0
	kill -TERM "$pid"
	while running; do
		sleep 0.05
	done
	;;
run)
	name=$1
	shift
	peer_exec "$PEER_ROOT/usr/sbin/$name" "$@"
	;;
*)
	die "unknown command: $cmd"
	;;
esac

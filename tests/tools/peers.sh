#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# peers.sh [NAME...] - fetch the programs we are compared with and tested against
#
# Downloads Debian packages and unpacks them under build/peers/root; nothing is installed, no service is
# started, no file outside build/ is written. Libraries the machine lacks are unpacked beside them. What is
# there already is not fetched again. build/peers/bin/NAME runs a program from there (see peer-env.sh).
# Without NAME: all of ALL. A NAME is a Debian package or one of the groups below.
set -eu

ALL="postfix swaks pflogsumm fail2ban aiosmtpd postgrey policyd-spf dovecot sasl2-bin rspamd opendkim opendmarc python3-milter spamass clamav filters rbldnsd nsd dnsdist gnutls-bin sslscan testssl.sh"

group() {
	case $1 in
	postfix)  echo postfix postfix-pcre postfix-lmdb postfix-sqlite ;;
	swaks)    echo swaks libnet-ssleay-perl ;;
	aiosmtpd) echo python3-aiosmtpd ;;
	dovecot)  echo dovecot-core dovecot-lmtpd dovecot-imapd ;;
	policyd-spf) echo postfix-policyd-spf-python ;;
	clamav)   echo clamav clamav-daemon clamav-milter clamav-testfiles ;;
	spamass)  echo spamass-milter spamc ;;
	filters)  echo spampd clamsmtp amavisd-new ;;
	*)        echo "$1" ;;
	esac
}

# Dependencies that no test runs: documentation, fonts, what only installs or rotates things.
SKIP='^(fonts-|libjs-|sphinx-|pci\.ids$|logrotate$|cpio$|ssl-cert$|adduser$|debconf$|libc6$)'

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
peers=${PEERS:-$top/build/peers}
root=$peers/root
have=$peers/.have
log=$peers/apt.log

die() {
	echo "peers: $*" >&2
	exit 1
}

# The packages and those of their dependencies which this machine lacks.
closure() {
	apt-get -s --no-install-recommends install "$@" 2>>"$log" |
	    awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' | sed 's/:.*//' | grep -Ev "$SKIP" || true
	printf '%s\n' "$@"
}

download() {
	(cd "$peers/debs" && apt-get -q download "$@" >>"$log" 2>&1)
}

fetch() {
	download "$@" && return 0
	[ "$(id -u)" = 0 ] && apt-get -q update >>"$log" 2>&1
	download "$@" || die "cannot fetch $* (no network, or run 'apt-get update' first); see $log"
}

# Which of the packages are not unpacked yet.
missing() {
	for p in "$@"; do
		[ -e "$have/$p" ] || echo "$p"
	done
}

# unpack PACKAGE...: with what they need, once.
unpack() {
	want=$(missing "$@")
	[ -n "$want" ] || return 0
	# shellcheck disable=SC2046,SC2086  # lists of package names
	set -- $(missing $(closure $want | sort -u))
	fetch "$@"
	for p in "$@"; do
		dpkg -x "$peers/debs/${p}"_*.deb "$root"
		rm -f "$peers/debs/${p}"_*.deb
	done
	for p in "$@"; do
		: >"$have/$p"
	done
	echo "peers: unpacked $*"
}

# One small script per program, so that tests need to know no paths.
wrappers() {
	for f in "$root"/usr/sbin/* "$root"/usr/bin/*; do
		[ -f "$f" ] && [ -x "$f" ] || continue
		w=$peers/bin/${f##*/}
		[ -e "$w" ] && continue
		printf '#!/bin/sh\nPEERS="%s"\n. "%s/peer-env.sh"\npeer_exec "%s" "$@"\n' "$peers" "$here" "$f" >"$w"
		chmod 755 "$w"
	done
	# What postfix's commands read when they are told nothing else.
	if [ -d "$root/usr/lib/postfix" ] && [ ! -e "$peers/etc/main.cf" ]; then
		mkdir -p "$peers/etc"
		printf 'compatibility_level = 3.6\nmyhostname = peer.example\n' >"$peers/etc/main.cf"
		cp "$root/usr/share/postfix/master.cf.dist" "$peers/etc/master.cf"
		cp "$root/usr/share/postfix/dynamicmaps.cf" "$peers/etc/"
	fi
}

command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
	die "the peers are Debian packages; apt-get and dpkg are not on this machine"
mkdir -p "$root" "$have" "$peers/debs" "$peers/bin"

pkgs=
for name in ${*:-$ALL}; do
	pkgs="$pkgs $(group "$name")"
done
# shellcheck disable=SC2086
unpack $pkgs
wrappers

# SPDX-License-Identifier: BSD-2-Clause
#
# peer-env.sh - to be sourced: run programs unpacked by peers.sh
#
# Uses PEERS (default: build/peers below the current directory), sets PEER_ROOT and the library paths, and defines peer_exec FILE ARGS..., which replaces the shell
# by FILE with what it needs: perl and python modules, Postfix's own libraries, a configuration directory.

PEERS=${PEERS:-$PWD/build/peers}
PEER_ROOT=$PEERS/root

for peer_dir in "$PEER_ROOT"/usr/lib/postfix "$PEER_ROOT"/usr/lib/dovecot "$PEER_ROOT"/usr/lib/rspamd \
    "$PEER_ROOT"/usr/lib "$PEER_ROOT"/usr/lib/*-linux-gnu* "$PEER_ROOT"/lib/*-linux-gnu*; do
	[ -d "$peer_dir" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$peer_dir
done
PERL5LIB=$PEER_ROOT/usr/share/perl5
for peer_dir in "$PEER_ROOT"/usr/lib/*-linux-gnu*/perl5/*; do
	[ -d "$peer_dir" ] && PERL5LIB=$PERL5LIB:$peer_dir
done
PYTHONPATH=$PEER_ROOT/usr/lib/python3/dist-packages
MAIL_CONFIG=${MAIL_CONFIG:-$PEERS/etc}
export LD_LIBRARY_PATH PERL5LIB PYTHONPATH MAIL_CONFIG

peer_exec() {
	peer_file=$1
	shift
	case ${peer_file##*/} in
	fail2ban-regex) exec "$peer_file" -c "$PEER_ROOT/etc/fail2ban" "$@" ;;
	postgrey|spampd|amavisd) # run with -T, which hides PERL5LIB
		set -- "$peer_file" "$@"
		for peer_dir in $(echo "$PERL5LIB" | tr : ' '); do
			set -- "-I$peer_dir" "$@"
		done
		exec perl -T "$@" ;;
	*) exec "$peer_file" "$@" ;;
	esac
}

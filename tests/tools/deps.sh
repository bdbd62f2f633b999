#!/bin/sh
# Installs the Debian packages a target needs when run as root, or names them and fails.
# usage: deps.sh build | test
set -eu
build="gcc make pkg-config libc6-dev libevent-dev libssl-dev libc-ares-dev libcdb-dev liblmdb-dev libpcre2-dev libseccomp-dev libsqlite3-dev libsasl2-dev libmilter-dev libclamav-dev libgmime-3.0-dev libarchive-dev zlib1g-dev"
test="$build libcmocka-dev libsasl2-modules libsasl2-modules-db python3 procps netbase"
command -v clang >/dev/null 2>&1 && test="$test libclang-rt-dev" # the fuzzers; a recommendation of clang's, which may be missing
case "${1:-build}" in
build) want=$build ;;
test) want=$test ;;
*) echo "usage: deps.sh build|test" >&2; exit 2 ;;
esac
command -v dpkg-query >/dev/null 2>&1 || exit 0 # not Debian: the compiler will say what is missing
missing=
for p in $want; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then
	echo "installing:$missing" >&2
	(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing) >/dev/null
else
	echo "missing Debian packages, please install them: apt-get install$missing" >&2
	exit 1
fi

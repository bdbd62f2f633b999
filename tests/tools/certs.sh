#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# certs.sh DIR: a CA and what hangs on it, good and bad, for the tests. Each NAME is NAME.pem (certificate, then the CA) and
# NAME.key (mode 0600). Takes a second; what is there is kept.
#
#   ca              the CA; other-ca: one nobody trusts; sub-ca: hangs on ca
#   good, good-ec   gateway.test, RSA 2048 and P-256      rsa3072    the same with a longer key
#   wild            *.wild.test                            wrong      other.test
#   expired, future not valid any more, not valid yet      self       signed by itself, gateway.test
#   unknown         signed by other-ca                     ip         127.0.0.1 as an address
#   cn-only         the name in the subject alone          long       hangs on sub-ca (NAME.pem has both)
#   mx-a, mx-b      a.sni.test, b.sni.test (P-256)         client, client2   for clients
#   locked          its key has a password                 nul        gateway.test, NUL, .evil.test
#   soon            five days left
# NAME.chain has key and chain in one file, for good, good-ec, mx-a, mx-b and client.
set -eu
dir=$1
mkdir -p "$dir"
cd "$dir"
[ ! -e done ] || exit 0
umask 077

conf() { # names...
	printf '[req]\ndistinguished_name=dn\n[dn]\n[v3]\nbasicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\n'
	[ "$1" = "" ] || printf 'subjectAltName=%s\n' "$1"
}
key() { # name kind
	case $2 in
	rsa) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1.key" ;;
	rsa3) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out "$1.key" ;;
	ec) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" ;;
	esac 2>/dev/null
}
authority() { # name common-name [parent]
	key "$1" ec
	printf '[req]\ndistinguished_name=dn\n[dn]\n[v3]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n' >"$1.cnf"
	if [ $# -gt 2 ]; then
		openssl req -new -key "$1.key" -subj "/CN=$2" -config "$1.cnf" -out "$1.csr"
		openssl x509 -req -in "$1.csr" -CA "$3.pem" -CAkey "$3.key" -days 3650 -extfile "$1.cnf" -extensions v3 -out "$1.pem" 2>/dev/null
	else
		openssl req -x509 -new -key "$1.key" -subj "/CN=$2" -config "$1.cnf" -extensions v3 -days 3650 -out "$1.pem"
	fi
}
cert() { # name kind common-name altnames issuer [days | "expired" | "future"]
	name=$1 issuer=$5 when=${6:-365}
	key "$name" "$2"
	conf "$4" >"$name.cnf"
	openssl req -new -key "$name.key" -subj "/CN=$3" -config "$name.cnf" -out "$name.csr"
	case $when in
	expired) set -- 20200101000000Z 20210101000000Z ;;
	future) set -- 20900101000000Z 20910101000000Z ;;
	*) set -- "$(date -u -d '1 hour ago' +%Y%m%d%H%M%SZ)" "$(date -u -d "$when days" +%Y%m%d%H%M%SZ)" ;;
	esac
	: >index.txt
	printf '[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nserial=serial.txt\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=optional\n' >ca.conf
	serial=$((serial + 1))
	printf '%04X\n' "$serial" >serial.txt
	if [ "$issuer" = self ]; then
		by="-selfsign -keyfile $name.key"
	else
		by="-cert $issuer.pem -keyfile $issuer.key"
	fi
	# shellcheck disable=SC2086
	openssl ca -batch -config ca.conf $by -startdate "$1" -enddate "$2" -extfile "$name.cnf" -extensions v3 \
	    -notext -in "$name.csr" -out "$name.crt" 2>/dev/null
	cp "$name.crt" "$name.pem"
	case $issuer in
	self) ;;
	sub-ca) cat sub-ca.pem ca.pem >>"$name.pem" ;;
	*) cat "$issuer.pem" >>"$name.pem" ;;
	esac
}

serial=4096
authority ca "Dogana Test CA"
authority other-ca "Nobody's CA"
authority sub-ca "Dogana Test Sub CA" ca
G=DNS:gateway.test,DNS:localhost
cert good rsa gateway.test $G ca
cert good-ec ec gateway.test $G ca
cert rsa3072 rsa3 gateway.test $G ca
cert wild ec '*.wild.test' 'DNS:*.wild.test' ca
cert wrong ec other.test DNS:other.test ca
cert expired ec gateway.test $G ca expired
cert future ec gateway.test $G ca future
cert self rsa gateway.test $G self
cert unknown ec gateway.test $G other-ca
cert ip ec gateway.test IP:127.0.0.1 ca
cert cn-only ec gateway.test "" ca
cert long ec gateway.test $G sub-ca
cert mx-a ec a.sni.test DNS:a.sni.test ca
cert mx-b ec b.sni.test DNS:b.sni.test ca
cert client ec client.test DNS:client.test ca
cert client2 rsa client2.test DNS:client2.test ca
cert soon ec gateway.test $G ca 5
cert nul ec gateway.test DER:30198217676174657761792e74657374002e6576696c2e74657374 ca
openssl pkey -in good-ec.key -aes128 -passout pass:secret -out locked.key
cp good-ec.pem locked.pem
for n in good good-ec mx-a mx-b client; do cat $n.key $n.pem >$n.chain; done
rm -f ./*.cnf ./*.csr ./*.crt index.txt* serial.txt* ca.conf ./[0-9A-F]*.pem
: >done

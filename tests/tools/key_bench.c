/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key_bench - signatures per second: in this process, and by another one that holds the key, as edge and keys do it.
 *
 *     key_bench [SECONDS]
 */
#include "base/clock.h"
#include "keys/sign.h"
#include "tls/keyask.h"
#include "tls/keyprov.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void
serve(int fd, EVP_PKEY *key)
{
	unsigned char packet[KEY_PACKET_MAX], out[KEY_DATA_MAX];
	for (ssize_t n; (n = recv(fd, packet, sizeof packet, 0)) > 0;) {
		struct key_request r;
		struct buf b;
		size_t k = 0;
		enum rc rc = key_request_get(span_of(packet, (size_t)n), &r);
		if (rc == RC_OK)
			rc = key_sign(key, &r, out, &k);
		buf_init(&b, KEY_PACKET_MAX);
		key_reply_put(&b, &(struct key_reply){ r.seq, rc, span_of(out, k) });
		(void)!send(fd, buf_span(&b).p, buf_len(&b), MSG_NOSIGNAL);
		buf_fini(&b);
	}
	_exit(0);
}

static bool
sign(EVP_PKEY *key)
{
	static const unsigned char text[130] = "what a TLS 1.3 server signs";
	unsigned char sig[1024];
	size_t n = sizeof sig;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const char *md = EVP_PKEY_is_a(key, "ED25519") ? NULL : "SHA256";
	bool ok = EVP_DigestSignInit_ex(ctx, NULL, md, NULL, NULL, key, NULL) == 1 && EVP_DigestSign(ctx, sig, &n, text, sizeof text) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

static double
own_cpu(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double
run(EVP_PKEY *key, uint64_t usec, double *cpu_out)
{
	uint64_t began = clock_mono(), now = began, count = 0;
	double cpu = own_cpu();
	for (; (now = clock_mono()) < began + usec; count++)
		if (!sign(key)) {
			fprintf(stderr, "key_bench: a signature failed\n");
			exit(1);
		}
	*cpu_out = (own_cpu() - cpu) / (double)count;
	return (double)count * 1e6 / (double)(now - began);
}

static void
one(const char *name, EVP_PKEY *key, uint64_t usec)
{
	int sv[2];
	struct err e;
	EVP_PKEY *standin;
	double cpu_here, cpu_there;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv) != 0 || keyprov_key(key, &standin, &e) != RC_OK)
		exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		close(sv[0]);
		serve(sv[1], key);
	}
	close(sv[1]);
	keyask_peer(sv[0]);
	double here = run(key, usec, &cpu_here), there = run(standin, usec, &cpu_there);
	printf("%-10s in-process %8.0f/s   keys process %8.0f/s (%.2f)   +%.1f us a signature; CPU of who asks %.1f -> %.1f us\n", name, here, there,
	    there / here, 1e6 / there - 1e6 / here, cpu_here, cpu_there);
	keyask_peer(-1);
	waitpid(pid, NULL, 0);
	EVP_PKEY_free(standin);
	EVP_PKEY_free(key);
}

int
main(int argc, char **argv)
{
	uint64_t usec = 1;
	if (argc > 1 && !span_u64(span_str(argv[1]), 1000, &usec))
		return 64;
	usec *= USEC_PER_SEC;
	setlinebuf(stdout);
	one("RSA 2048", EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048), usec);
	one("RSA 4096", EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)4096), usec);
	one("P-256", EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), usec);
	one("P-384", EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"), usec);
	one("Ed25519", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), usec);
	return 0;
}

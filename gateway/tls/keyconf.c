/* SPDX-License-Identifier: BSD-2-Clause */
/* Which certificates main.cf and master.cf name for whom. */
#include "tls/key.h"

#include <strings.h>

struct pair_row {
	const char *param, *cert, *key;
};

static bool
is_none(const char *file)
{
	return file[0] == '\0' || strcasecmp(file, "none") == 0;
}

/* chain files override the others (facts 8.1). */
static enum rc
use_all(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *chain_param, const char *chain_files, const struct pair_row *rows, size_t n,
    const char **param_out, struct err *e)
{
	enum rc rc = RC_NONE;
	const char *param = chain_param;
	if (chain_files[0] != '\0') {
		rc = tls_key_use_chains(c, side, ctx, chain_files, e);
	} else {
		for (size_t i = 0; i < n && (rc == RC_OK || rc == RC_NONE); i++) {
			if (is_none(rows[i].cert))
				continue;
			param = rows[i].param;
			rc = tls_key_use(c, side, ctx, rows[i].cert, rows[i].key, e);
		}
	}
	if (param_out != NULL && rc != RC_OK && rc != RC_NONE)
		*param_out = param;
	return rc;
}

enum rc
tls_keys_server(struct conf *c, const struct service *s, SSL_CTX *ctx, const char **param_out, struct err *e)
{
	const struct params *p = s != NULL ? s->params : conf_params(c);
	const struct pair_row rows[] = {
		{ "smtpd_tls_cert_file", p->p_smtpd_tls_cert_file, p->p_smtpd_tls_key_file },
		{ "smtpd_tls_dcert_file", p->p_smtpd_tls_dcert_file, p->p_smtpd_tls_dkey_file },
		{ "smtpd_tls_eccert_file", p->p_smtpd_tls_eccert_file, p->p_smtpd_tls_eckey_file },
	};
	return use_all(c, TLS_SERVER, ctx, "smtpd_tls_chain_files", p->p_smtpd_tls_chain_files, rows, NELEMS(rows), param_out, e);
}

enum rc
tls_keys_client(struct conf *c, const struct service *s, bool is_lmtp, SSL_CTX *ctx, const char **param_out, struct err *e)
{
	const struct params *p = s != NULL ? s->params : conf_params(c);
	const struct pair_row smtp[] = {
		{ "smtp_tls_cert_file", p->p_smtp_tls_cert_file, p->p_smtp_tls_key_file },
		{ "smtp_tls_eccert_file", p->p_smtp_tls_eccert_file, p->p_smtp_tls_eckey_file },
	}, lmtp[] = {
		{ "lmtp_tls_cert_file", p->p_lmtp_tls_cert_file, p->p_lmtp_tls_key_file },
		{ "lmtp_tls_eccert_file", p->p_lmtp_tls_eccert_file, p->p_lmtp_tls_eckey_file },
	};
	return use_all(c, TLS_CLIENT, ctx, is_lmtp ? "lmtp_tls_chain_files" : "smtp_tls_chain_files",
	    is_lmtp ? p->p_lmtp_tls_chain_files : p->p_smtp_tls_chain_files, is_lmtp ? lmtp : smtp, NELEMS(smtp), param_out, e);
}

static bool
client_wanted(const struct params *p, bool is_lmtp)
{
	const char *level = is_lmtp ? p->p_lmtp_tls_security_level : p->p_smtp_tls_security_level;
	const char *policies = is_lmtp ? p->p_lmtp_tls_policy_maps : p->p_smtp_tls_policy_maps;
	if (policies[0] != '\0' || (is_lmtp ? p->p_lmtp_tls_wrappermode : p->p_smtp_tls_wrappermode))
		return true;
	if (level[0] != '\0')
		return strcasecmp(level, "none") != 0;
	return is_lmtp ? p->p_lmtp_use_tls || p->p_lmtp_enforce_tls : p->p_smtp_use_tls || p->p_smtp_enforce_tls;
}

static void
check_client(struct conf *c, const struct service *s)
{
	const struct params *p = s != NULL ? s->params : conf_params(c);
	for (int is_lmtp = 0; is_lmtp <= 1; is_lmtp++) {
		struct err e = { .why = "" };
		const char *param = NULL;
		bool is_used = s == NULL || strcmp(s->command, is_lmtp ? "lmtp" : "smtp") == 0;
		enum rc rc = is_used && client_wanted(p, is_lmtp) ? tls_keys_client(c, s, is_lmtp, NULL, &param, &e) : RC_NONE;
		if (rc != RC_OK && rc != RC_NONE)
			conf_problem(c, CONF_ERROR, s, param, "%s", e.why);
	}
}

void
tls_keys_check(struct conf *c)
{
	check_client(c, NULL);
	for (size_t i = 0; i < conf_service_count(c); i++)
		if (conf_service(c, i)->kind == SERVICE_TRANSPORT)
			check_client(c, conf_service(c, i));
}

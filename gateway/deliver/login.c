/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/login.h"

#include "base/mem.h"
#include "map/mapkeys.h"
#include "map/matchlist.h"

#include <openssl/evp.h>

enum { VALUE_MAX = 64 * 1024, TOKEN_MAX = 16 * 1024, NEEDLE_MIN = 3 };

struct logins {
	struct conf *conf;           /* borrowed: who opened it holds a reference */
	struct map_list *passwords, *tokens;
	struct matchlist *filter;
	unsigned options[3];         /* by enum sasl_where */
	char delimiter;
	bool by_sender;
	const char *extension;       /* recipient_delimiter */
	const char *double_bounce;
	const char *title;           /* of the password tables */
};

/* ---- opening ---- */

static const struct {
	const char *word;
	unsigned bit;
} words[] = {
	{ "noplaintext", SASL_NO_PLAINTEXT }, { "noanonymous", SASL_NO_ANONYMOUS }, { "noactive", SASL_NO_ACTIVE },
	{ "nodictionary", SASL_NO_DICTIONARY }, { "forward_secrecy", SASL_FORWARD_SECRECY }, { "mutual_auth", SASL_MUTUAL_AUTH },
};

enum rc
sasl_options_parse(const char *list, unsigned *out, struct err *e)
{
	*out = 0;
	struct span rest = span_str(list);
	for (struct span item; span_word(&rest, ", \t\r\n", &item);) {
		size_t i = 0;
		while (i < NELEMS(words) && !span_caseeq_str(item, words[i].word))
			i++;
		if (i == NELEMS(words))
			return err_set(e, RC_PERM, "\"%.*s\" is no SASL security option", (int)(item.n < 40 ? item.n : 40), (const char *)item.p);
		*out |= words[i].bit;
	}
	return RC_OK;
}

static const char *
name_of(char *out, size_t size, bool lmtp, const char *suffix)
{
	snprintf(out, size, "%s_%s", lmtp ? "lmtp" : "smtp", suffix);
	return out;
}

/* A token is in a file that another program renews: read with the configuration, watched with it. */
static bool
read_token_file(void *arg, const char *table, struct span key, struct span value)
{
	struct logins *l = arg;
	struct err e = { .why = "" };
	struct span text;
	char *path = NULL;
	(void)key;
	size_t at = span_chr(value, (unsigned char)l->delimiter);
	if (at != SIZE_MAX && at + 1 < value.n) {
		path = mem_alloc(value.n - at);
		memcpy(path, value.p + at + 1, value.n - at - 1);
		path[value.n - at - 1] = '\0';
	}
	if (path == NULL)
		conf_problem(l->conf, CONF_WARNING, NULL, NULL, "%s: \"%.*s\" is not USER%cFILE", table, (int)(value.n < 80 ? value.n : 80),
		    (const char *)value.p, l->delimiter);
	else if (conf_file_secret(l->conf, path, CONF_FOR_RELAY, &text, &e) != RC_OK)
		conf_problem(l->conf, CONF_WARNING, NULL, NULL, "%s: token file: %s: mail that needs it waits", table, e.why);
	mem_free(&path);
	return true;
}

static enum rc
open_options(struct logins *l, const struct service *s, bool lmtp)
{
	static const char *const names[] = { "sasl_security_options", "sasl_tls_security_options", "sasl_tls_verified_security_options" };
	enum rc rc = RC_OK;
	for (size_t i = 0; i < NELEMS(names); i++) {
		char name[80];
		struct err e;
		name_of(name, sizeof name, lmtp, names[i]);
		if (sasl_options_parse(conf_value(l->conf, s, name), &l->options[i], &e) == RC_OK)
			continue;
		conf_problem(l->conf, CONF_ERROR, s, name, "%s: %s", name, e.why);
		rc = RC_PERM;
	}
	return rc;
}

enum rc
logins_open(struct conf *c, const struct service *s, bool lmtp, struct logins **out, struct err *e)
{
	const struct params *p = s->params;
	char name[80];
	enum rc rc = RC_OK;
	*out = NULL;
	if (!(lmtp ? p->p_lmtp_sasl_auth_enable : p->p_smtp_sasl_auth_enable))
		return RC_OK;
	struct logins *l = *out = mem_zalloc(sizeof *l);
	l->conf = c;
	l->by_sender = lmtp ? p->p_lmtp_sender_dependent_authentication : p->p_smtp_sender_dependent_authentication;
	l->extension = p->p_recipient_delimiter;
	l->double_bounce = p->p_double_bounce_sender;
	l->title = lmtp ? "lmtp_sasl_password_maps" : "smtp_sasl_password_maps";
	const char *delimiter = lmtp ? p->p_lmtp_sasl_password_result_delimiter : p->p_smtp_sasl_password_result_delimiter;
	l->delimiter = delimiter[0] != '\0' ? delimiter[0] : ':';
	if (maps_open_secret(c, s, l->title, lmtp ? p->p_lmtp_sasl_password_maps : p->p_smtp_sasl_password_maps, CONF_FOR_RELAY, &l->passwords, e) != RC_OK)
		rc = RC_PERM;
	if (maps_open_secret(c, s, name_of(name, sizeof name, lmtp, "sasl_oauth2_token_maps"),
	        lmtp ? p->p_lmtp_sasl_oauth2_token_maps : p->p_smtp_sasl_oauth2_token_maps, CONF_FOR_RELAY, &l->tokens, e) != RC_OK)
		rc = RC_PERM;
	if (matchlist_open_param(c, s, name_of(name, sizeof name, lmtp, "sasl_mechanism_filter"), MATCH_STRING, &l->filter, e) != RC_OK)
		rc = RC_PERM;
	if (open_options(l, s, lmtp) != RC_OK)
		rc = RC_PERM;
	const char *type = lmtp ? p->p_lmtp_sasl_type : p->p_smtp_sasl_type;
	if (strcmp(type, "cyrus") != 0) {
		conf_problem(c, CONF_ERROR, s, name_of(name, sizeof name, lmtp, "sasl_type"), "%s: \"%s\" is no SASL client: it is cyrus", name, type);
		rc = RC_PERM;
	}
	if (map_list_empty(l->passwords) && map_list_empty(l->tokens)) {
		conf_problem(c, CONF_ERROR, s, name_of(name, sizeof name, lmtp, "sasl_auth_enable"),
		    "%s needs %s: there is nothing to log in with", name, l->title);
		rc = RC_PERM;
	}
	if (conf_is_loader(c))
		map_list_each(l->tokens, read_token_file, l);
	return rc;
}

void
logins_free(struct logins **lp)
{
	struct logins *l = *lp;
	*lp = NULL;
	if (l == NULL)
		return;
	map_list_free(&l->passwords);
	map_list_free(&l->tokens);
	matchlist_free(&l->filter);
	mem_free(&l);
}

bool
logins_by_sender(const struct logins *l)
{
	return l != NULL && l->by_sender;
}

bool
logins_has_filter(const struct logins *l)
{
	return !matchlist_empty(l->filter);
}

unsigned
logins_options(const struct logins *l, enum sasl_where where)
{
	return l->options[where];
}

enum rc
logins_filter(const struct logins *l, struct span offered, struct buf *out, struct err *e)
{
	for (struct span mech; span_word(&offered, " \t", &mech);) {
		enum rc rc = logins_has_filter(l) ? matchlist_name(l->filter, mech, e) : RC_OK;
		if (rc == RC_TEMP || rc == RC_PERM)
			return RC_TEMP;
		if (rc == RC_NONE)
			continue;
		if (buf_len(out) > 0)
			buf_putc(out, ' ');
		buf_put(out, mech);
	}
	return RC_OK;
}

/* ---- finding ---- */

static enum rc
look_up(const struct logins *l, const struct map_list *maps, struct span sender, struct span host, struct span nexthop, struct buf *scratch,
    struct span *value, struct err *e)
{
	enum rc rc = RC_NONE;
	if (map_list_empty(maps))
		return RC_NONE;
	if (l->by_sender && sender.n > 0) {
		struct map_addr a = map_addr_split(sender, l->extension, l->double_bounce, false);
		rc = map_find_address(maps, MAPKEY_MAIL, &a, false, false, scratch, value, e);
	}
	if (rc == RC_NONE)
		rc = map_find(maps, host, 0, scratch, value, e);
	if (rc == RC_NONE)
		rc = map_find(maps, nexthop, 0, scratch, value, e);
	return rc;
}

static enum rc
take_value(const struct logins *l, struct span value, bool is_token, struct login *out, struct err *e)
{
	size_t at = span_chr(value, (unsigned char)l->delimiter);
	struct span user = at == SIZE_MAX ? value : span_head(value, at);
	struct span secret = at == SIZE_MAX ? SPAN_EMPTY : span_from(value, at + 1);
	if (is_token) {
		char *path = span_dup(secret);
		enum rc rc = conf_file_secret(l->conf, path, CONF_FOR_RELAY, &secret, e);
		mem_free(&path);
		if (rc != RC_OK)
			return RC_TEMP;
		secret = span_trim(secret);
		if (secret.n == 0 || secret.n > TOKEN_MAX || !span_is_printable(secret))
			return err_set(e, RC_TEMP, "the token file has no token");
	}
	if (memchr(user.p, '\0', user.n) != NULL || (secret.n > 0 && memchr(secret.p, '\0', secret.n) != NULL))
		return err_set(e, RC_TEMP, "a login has a NUL octet");
	*out = (struct login){ .user = span_dup(user), .secret = span_dup(secret), .is_token = is_token };
	return RC_OK;
}

enum rc
login_find(const struct logins *l, struct span sender, struct span host, struct span nexthop, struct login *out, struct err *e)
{
	struct buf scratch;
	struct span value;
	*out = (struct login){ .user = NULL };
	buf_init_secret(&scratch, VALUE_MAX);
	bool is_token = true;
	enum rc rc = look_up(l, l->tokens, sender, host, nexthop, &scratch, &value, e);
	if (rc == RC_NONE) {
		is_token = false;
		rc = look_up(l, l->passwords, sender, host, nexthop, &scratch, &value, e);
	}
	if (rc == RC_OK)
		rc = take_value(l, value, is_token, out, e);
	buf_fini(&scratch);
	return rc == RC_PERM ? RC_TEMP : rc;
}

/* ---- one login ---- */

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool
login_same(const struct login *a, const struct login *b)
{
	return a->is_token == b->is_token && same_text(a->user, b->user) && same_text(a->secret, b->secret);
}

void
login_wipe(struct login *l)
{
	if (l->secret != NULL)
		mem_wipe(l->secret, strlen(l->secret));
	mem_free(&l->user);
	mem_free(&l->secret);
	l->is_token = false;
}

/* Every occurrence gives way to a mark that cannot be longer. */
static void
blot(struct buf *text, struct span needle)
{
	struct span s = buf_span(text);
	unsigned char *p = text->p + text->at;
	size_t from = 0;
	if (needle.n < NEEDLE_MIN || s.n < needle.n)
		return;
	for (size_t at; (at = span_find(span_from(s, from), needle)) != SIZE_MAX;) {
		at += from;
		memcpy(p + at, "***", NEEDLE_MIN);
		memmove(p + at + NEEDLE_MIN, p + at + needle.n, s.n - at - needle.n);
		s.n -= needle.n - NEEDLE_MIN;
		buf_cut(text, s.n);
		from = at + NEEDLE_MIN;
	}
}

/* What of base64 depends on nothing but the secret, when skip octets stand in front of it in the first group of three. */
static void
blot_base64(struct buf *text, struct span secret, size_t skip)
{
	unsigned char *plain = mem_zalloc(secret.n + 3), *coded = mem_zalloc(4 * (secret.n + 6) / 3 + 8);
	memcpy(plain + skip, secret.p, secret.n);
	int n = EVP_EncodeBlock(coded, plain, (int)(secret.n + skip));
	size_t start = skip == 0 ? 0 : skip + 1;              /* characters that bits in front of the secret are part of */
	size_t end = (secret.n + skip) / 3 * 4 + (secret.n + skip) % 3; /* whole characters of the secret */
	if (n > 0 && end > start)
		blot(text, span_of(coded + start, end - start));
	mem_wipe(plain, secret.n + 3);
	mem_wipe(coded, 4 * (secret.n + 6) / 3 + 8);
	mem_free(&plain);
	mem_free(&coded);
}

static void
blot_hex(struct buf *text, struct span secret, const char *digits)
{
	unsigned char *hex = mem_alloc(2 * secret.n + 1);
	for (size_t i = 0; i < secret.n; i++) {
		hex[2 * i] = (unsigned char)digits[secret.p[i] >> 4];
		hex[2 * i + 1] = (unsigned char)digits[secret.p[i] & 15];
	}
	blot(text, span_of(hex, 2 * secret.n));
	mem_wipe(hex, 2 * secret.n);
	mem_free(&hex);
}

void
login_mask(const struct login *l, struct buf *text)
{
	struct span secret = span_str(l->secret);
	if (secret.n < NEEDLE_MIN || buf_len(text) == 0)
		return;
	blot(text, secret);
	for (size_t skip = 0; skip < 3; skip++)
		blot_base64(text, secret, skip);
	blot_hex(text, secret, "0123456789abcdef");
	blot_hex(text, secret, "0123456789ABCDEF");
}

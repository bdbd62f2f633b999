/* SPDX-License-Identifier: BSD-2-Clause */
#include "sasl/mechs.h"

static const struct {
	const char *word;
	unsigned option;
} options[] = {
	{ "noanonymous", SASL_OPT_NOANONYMOUS }, { "noplaintext", SASL_OPT_NOPLAINTEXT }, { "nodictionary", SASL_OPT_NODICTIONARY },
	{ "noactive", SASL_OPT_NOACTIVE }, { "forward_secrecy", SASL_OPT_FORWARD_SECRECY }, { "mutual_auth", SASL_OPT_MUTUAL_AUTH },
};

enum rc
sasl_options(struct span words, unsigned *out, struct err *e)
{
	struct span word;
	*out = 0;
	while (span_word(&words, ", \t\r\n", &word)) {
		unsigned option = 0;
		for (size_t i = 0; i < NELEMS(options); i++)
			if (span_caseeq_str(word, options[i].word))
				option = options[i].option;
		if (option == 0)
			return err_set(e, RC_PERM, "unknown SASL security option \"%.*s\"", (int)(word.n < 80 ? word.n : 80), (const char *)word.p);
		*out |= option;
	}
	return RC_OK;
}

static const struct {
	const char *word;
	unsigned property;
} properties[] = {
	{ "anonymous", SASL_IS_ANONYMOUS }, { "plaintext", SASL_IS_PLAINTEXT }, { "dictionary", SASL_IS_DICTIONARY }, { "active", SASL_IS_ACTIVE },
	{ "forward-secrecy", SASL_HAS_FORWARD_SECRECY }, { "mutual-auth", SASL_HAS_MUTUAL_AUTH }, { "private", SASL_IS_PRIVATE },
};

unsigned
sasl_property(struct span word)
{
	for (size_t i = 0; i < NELEMS(properties); i++)
		if (span_caseeq_str(word, properties[i].word))
			return properties[i].property;
	return 0;
}

bool
sasl_allowed(unsigned opts, unsigned props)
{
	const unsigned forbids = SASL_OPT_NOANONYMOUS | SASL_OPT_NOPLAINTEXT | SASL_OPT_NODICTIONARY | SASL_OPT_NOACTIVE;
	const unsigned demands = SASL_OPT_FORWARD_SECRECY | SASL_OPT_MUTUAL_AUTH;
	return (props & SASL_IS_PRIVATE) == 0 && (opts & forbids & props) == 0 && (opts & demands & ~props) == 0;
}

bool
sasl_mech_is_name(struct span name)
{
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = name.p[i];
		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
	}
	return name.n > 0 && name.n <= SASL_MECH_NAME_MAX;
}

bool
sasl_mechs_add(struct sasl_mechs *m, struct span name, unsigned props)
{
	if (!sasl_mech_is_name(name))
		return false;
	for (size_t i = 0; i < m->n; i++)
		if (span_caseeq_str(name, m->mech[i].name)) {
			m->mech[i].properties = props;
			return true;
		}
	if (m->n == SASL_MECHS_MAX)
		return false;
	struct sasl_mech *mech = &m->mech[m->n++];
	for (size_t i = 0; i < name.n; i++)
		mech->name[i] = (char)(name.p[i] >= 'a' && name.p[i] <= 'z' ? name.p[i] - 32 : name.p[i]);
	mech->name[name.n] = '\0';
	mech->properties = props;
	return true;
}

const struct sasl_mech *
sasl_mechs_find(const struct sasl_mechs *m, struct span name)
{
	for (size_t i = 0; i < m->n; i++)
		if (span_caseeq_str(name, m->mech[i].name))
			return &m->mech[i];
	return NULL;
}

static unsigned unsettled;
static void (*when_settled)(void);

void
sasl_one_more(void)
{
	unsettled++;
}

void
sasl_one_settled(void)
{
	BUG_ON(unsettled == 0);
	if (--unsettled == 0 && when_settled != NULL)
		when_settled();
}

bool
sasl_is_settled(void)
{
	return unsettled == 0;
}

void
sasl_when_settled(void (*fn)(void))
{
	when_settled = fn;
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/notices_private.h"

#include "base/mem.h"

enum { LANGUAGES_MAX = 100 };

const struct notice_templates *
notices_templates_for(const struct notices_settings *s, struct span rcpt)
{
	size_t at = span_rchr(rcpt, '@');
	struct span domain = at != SIZE_MAX ? span_from(rcpt, at + 1) : SPAN_EMPTY;
	for (size_t i = 1; i < s->nlanguages; i++)
		if (span_caseeq(s->language[i].domain, domain))
			return &s->language[i].templates;
	return &s->language[0].templates;
}

static enum rc
wrong(struct conf *c, const char *name, struct err *e, const char *why)
{
	struct err copy;
	err_set(&copy, RC_PERM, "%s: %s", name, why);
	conf_problem(c, CONF_ERROR, NULL, name, "%s", copy.why);
	return err_set(e, RC_PERM, "%s", copy.why);
}

/* "DOMAIN=FILE", or FILE for all other domains. */
static enum rc
read_language(struct conf *c, struct notices_settings *s, struct span item, struct err *e)
{
	static const char name[] = "quarantine_templates";
	size_t equals = span_chr(item, '=');
	struct span domain = equals != SIZE_MAX ? span_trim(span_head(item, equals)) : SPAN_EMPTY;
	struct span path = equals != SIZE_MAX ? span_trim(span_from(item, equals + 1)) : item, text;
	struct err why = { .why = "" }, copy;
	char file[4096];
	if (path.n == 0 || path.n >= sizeof file || (equals != SIZE_MAX && domain.n == 0) || s->nlanguages == LANGUAGES_MAX)
		return wrong(c, name, e, "DOMAIN=FILE is wanted, or FILE");
	memcpy(file, path.p, path.n);
	file[path.n] = '\0';
	struct notice_language *l = domain.n > 0 ? &s->language[s->nlanguages++] : &s->language[0];
	*l = (struct notice_language){ .domain = domain };
	notice_templates_init(&l->templates);
	enum rc rc = conf_file(c, file, &text, &why);
	if (rc == RC_OK)
		rc = notice_templates_read(&l->templates, text, &why);
	if (rc == RC_OK)
		return RC_OK;
	err_set(&copy, RC_PERM, "%s: %s", file, why.why);
	return wrong(c, name, e, copy.why);
}

static enum rc
read_languages(struct conf *c, struct notices_settings *s, struct err *e)
{
	struct span rest = span_str(conf_params(c)->p_quarantine_templates), item;
	bool group;
	s->language = mem_calloc(LANGUAGES_MAX, sizeof *s->language);
	s->nlanguages = 1;
	notice_templates_init(&s->language[0].templates);
	enum rc rc;
	while ((rc = conf_item(&rest, &item, &group)) == RC_OK)
		if (read_language(c, s, item, e) != RC_OK)
			return RC_PERM;
	return rc == RC_NONE ? RC_OK : wrong(c, "quarantine_templates", e, "unbalanced braces");
}

static enum rc
read_virus_notify(struct conf *c, struct notices_settings *s, struct err *e)
{
	static const struct {
		const char *word;
		unsigned bit;
	} words[] = { { "postmaster", NOTIFY_VIRUS_POSTMASTER }, { "recipients", NOTIFY_VIRUS_RECIPIENTS }, { "internal-sender", NOTIFY_VIRUS_SENDER } };
	struct span rest = span_str(conf_params(c)->p_virus_notify), word;
	while (span_word(&rest, ", \t\r\n", &word)) {
		size_t i = 0;
		while (i < NELEMS(words) && !span_caseeq_str(word, words[i].word))
			i++;
		if (i == NELEMS(words))
			return wrong(c, "virus_notify", e, "postmaster, recipients or internal-sender is wanted");
		s->virus_notify |= words[i].bit;
	}
	return RC_OK;
}

enum rc
notices_settings_open(struct conf *c, struct notices_settings **out, struct err *e)
{
	const struct params *p = conf_params(c);
	struct notices_settings *s = mem_zalloc(sizeof *s);
	struct err why = { .why = "" };
	s->conf = conf_ref(c);
	s->virus_recipient = p->p_virus_notice_recipient;
	s->limit = (uint32_t)p->p_quarantine_notice_limit;
	s->limit_time = p->p_quarantine_notice_time;
	s->digest_limit = (uint32_t)p->p_quarantine_digest_limit;
	enum rc rc = schedule_parse(span_str(p->p_quarantine_digest_schedule), &s->schedule, &why);
	if (rc != RC_OK)
		rc = wrong(c, "quarantine_digest_schedule", e, why.why);
	/* all that is wrong is said at once */
	if (read_virus_notify(c, s, e) != RC_OK || read_languages(c, s, e) != RC_OK)
		rc = RC_PERM;
	enum rc who = matchlist_open_param(c, NULL, "quarantine_digest_recipients", MATCH_STRING, &s->digest_recipients, e);
	if (rc == RC_OK && (rc = who) == RC_OK)
		rc = matchlist_open_param(c, NULL, "mynetworks", MATCH_HOST, &s->networks, e);
	*out = s;
	if (rc != RC_OK)
		notices_settings_free(out);
	return rc;
}

void
notices_settings_free(struct notices_settings **sp)
{
	struct notices_settings *s = *sp;
	if (s == NULL)
		return;
	matchlist_free(&s->digest_recipients);
	matchlist_free(&s->networks);
	mem_free(&s->language);
	conf_unref(&s->conf);
	mem_free(sp);
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/template.h"

#include "conf/expand.h"

enum { VALUE_MAX = 4096 };

struct filling {
	const struct template_filter *filter;
	policy_template_fn *value;
	void *arg;
	struct buf plain, safe;      /* a value as it is; and with every $ doubled */
	struct span unknown;
};

static bool
octal(const char *s)
{
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7';
}

static bool
short_octal(const char *s)
{
	return s[0] >= '0' && s[0] <= '7' && s[1] >= '0' && s[1] <= '7';
}

void
template_filter_init(struct template_filter *f, const char *value)
{
	static const char names[] = "a\ab\bf\fn\nr\rt\tv\v";
	*f = (struct template_filter){ 0 };
	for (const char *s = value; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '\\' && s[1] != '\0') {
			s++;
			c = (unsigned char)*s;
			if (octal(s)) {
				c = (unsigned char)((s[0] - '0') * 64 + (s[1] - '0') * 8 + s[2] - '0');
				s += 2;
			} else if (short_octal(s)) {
				c = (unsigned char)((s[0] - '0') * 8 + s[1] - '0');
				s++;
			} else {
				for (size_t k = 0; k < sizeof names - 1; k += 2)
					if ((unsigned char)names[k] == c) {
						c = (unsigned char)names[k + 1];
						break;
					}
			}
		}
		f->ok[c] = true;
	}
}

static bool
look_up(void *arg, struct span name, struct span *raw_out)
{
	struct filling *x = arg;
	buf_reset(&x->plain);
	buf_reset(&x->safe);
	if (!x->value(x->arg, name, &x->plain)) {
		x->unknown = name;
		return false;
	}
	struct span v = buf_span(&x->plain);
	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = x->filter->ok[v.p[i]] ? v.p[i] : '_';
		if (c == '$')
			buf_putc(&x->safe, '$');
		buf_putc(&x->safe, c);
	}
	*raw_out = buf_span(&x->safe);
	return true;
}

enum rc
policy_template(const struct template_filter *f, struct span text, policy_template_fn *value, void *arg, struct buf *out, struct err *e)
{
	struct filling x = { .filter = f, .value = value, .arg = arg };
	buf_init(&x.plain, VALUE_MAX);
	buf_init(&x.safe, 2 * VALUE_MAX + 2);
	enum rc rc = expand_text(look_up, &x, text, out, e);
	if (rc == RC_OK && x.unknown.n > 0)
		rc = err_set(e, RC_PERM, "unknown name \"%.*s\"", (int)(x.unknown.n < 60 ? x.unknown.n : 60), (const char *)x.unknown.p);
	buf_fini(&x.plain);
	buf_fini(&x.safe);
	return rc;
}

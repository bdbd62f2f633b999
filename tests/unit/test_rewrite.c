/* SPDX-License-Identifier: BSD-2-Clause */
/* Envelope rewriting: each row is a configuration, an envelope, and what it must become. Facts 5.6. */
#include "unit.h"

#include "confdir.h"
#include "ipc/msgs.h"
#include "policy/addrlist.h"
#include "policy/rewrite.h"

#include <time.h>

static struct {
	struct conf *conf;
	struct address_book *book;
	struct rewriter *w;
} t;

static void
open_conf(const char *lines)
{
	char text[6000];
	struct err e = { .why = "" };
	snprintf(text, sizeof text,
	    "append_dot_mydomain = no\nmydestination = here.example\ninet_interfaces = 127.0.0.1\nrelay_domains = example.org\n"
	    "local_recipient_maps =\n%s%s\n", strstr(lines, "alias_maps =") == lines || strstr(lines, "\nalias_maps =") ? "" : "alias_maps =\n", lines);
	t.conf = confdir_load(text);
	if (address_book_open(t.conf, NULL, &t.book, &e) != RC_OK || rewriter_open(t.conf, NULL, t.book, &t.w, &e) != RC_OK)
		confdir_show_problems(t.conf);
}

static void
close_conf(void)
{
	rewriter_free(&t.w);
	address_book_free(&t.book);
	conf_unref(&t.conf);
}

/* "sender: rcpt rcpt", with "rcpt<orig" where orig is said and "/N" for a notify, "!" in front of one that is held; "TEMP why", "PERM why". */
static const char *
rewritten(const char *from, const char *to, const struct rewrite_extra *x)
{
	static struct buf b;
	struct arena a;
	struct env_rcpt rcpts[64] = { { .notify = 0 } };
	struct envelope env = { .sender = span_str(from), .rcpt = rcpts }, out = { .nrcpt = 0 };
	struct err e = { .why = "" };
	struct span rest = span_str(to), word;
	while (span_word(&rest, " ", &word)) {
		struct env_rcpt *r = &rcpts[env.nrcpt++];
		r->held = word.p[0] == '!';
		word = span_from(word, r->held);
		size_t slash = span_rchr(word, '/');
		r->addr = span_head(word, slash);
		if (slash != SIZE_MAX)
			r->notify = (uint8_t)(word.p[slash + 1] - '0');
		size_t less = span_chr(r->addr, '<');
		if (less != SIZE_MAX) {
			r->orig = span_from(r->addr, less + 1);
			r->addr = span_head(r->addr, less);
		}
	}
	if (b.max == 0)
		buf_init(&b, 1 << 20);
	buf_reset(&b);
	arena_init(&a, 8 << 20);
	enum rc rc = rewrite_envelope(t.w, &env, x, &a, &out, &e);
	if (rc != RC_OK) {
		buf_printf(&b, "%s %s", rc == RC_TEMP ? "TEMP" : "PERM", e.why);
	} else {
		buf_put(&b, out.sender);
		buf_putc(&b, ':');
		for (uint32_t i = 0; i < out.nrcpt; i++) {
			buf_puts(&b, out.rcpt[i].held ? " !" : " ");
			buf_put(&b, out.rcpt[i].addr);
			if (out.rcpt[i].orig.n > 0) {
				buf_putc(&b, '<');
				buf_put(&b, out.rcpt[i].orig);
			}
			if (out.rcpt[i].notify != 0)
				buf_printf(&b, "/%u", out.rcpt[i].notify);
		}
		bool same = out.nrcpt == env.nrcpt && span_eq(out.sender, env.sender);
		for (uint32_t i = 0; same && i < env.nrcpt; i++)
			same = span_eq(env.rcpt[i].addr, out.rcpt[i].addr) && env.rcpt[i].notify == out.rcpt[i].notify;
		if (!same && conf_params(t.conf)->p_duplicate_filter_limit > 1) /* what RCPT gave twice is not there twice */
			assert_false(rewrite_is_idle(t.w, &env, x));
	}
	arena_fini(&a);
	return buf_cstr(&b);
}

struct row {
	const char *conf, *from, *to, *want;
};

static const struct row rows[] = {
	{ "", "a@b.example", "x@example.org", "a@b.example: x@example.org" },
	{ "", "", "x@example.org", ": x@example.org" },
	{ "", "MAILER-DAEMON@mx.example.com", "x@example.org", ": x@example.org" },
	{ "", "mailer-daemon@elsewhere.example", "x@example.org", "mailer-daemon@elsewhere.example: x@example.org" },

	/* marks for the quarantine */
	{ "", "a@b.example", "!x@example.org x@example.org", "a@b.example: !x@example.org x@example.org" },
	{ "canonical_maps = inline:{{a@b.example=c@d.example}}", "a@b.example", "!a@b.example x@example.org", "c@d.example: !c@d.example<a@b.example x@example.org" },
	{ "virtual_alias_maps = inline:{{v@example.org=o@example.org, p@example.org}}", "a@b.example", "!v@example.org o@example.org",
	    "a@b.example: !o@example.org<v@example.org !p@example.org<v@example.org o@example.org" },
	{ "recipient_bcc_maps = inline:{{x@example.org=copy@example.org}}\nalways_bcc = all@example.org", "a@b.example", "!x@example.org y@example.org",
	    "a@b.example: !x@example.org !copy@example.org/1 y@example.org all@example.org/1" },

	/* canonical */
	{ "canonical_maps = inline:{{a@b.example=c@d.example}}", "a@b.example", "A@B.example", "c@d.example: c@d.example<A@B.example" },
	{ "canonical_maps = inline:{{a@b.example=c@d.example}, {c@d.example=e@f.example}}", "a@b.example", "x@example.org", "e@f.example: x@example.org" },
	{ "canonical_maps = inline:{{a@b.example=c@d.example}, {c@d.example=a@b.example}}", "a@b.example", "x@example.org", "TEMP unreasonable map nesting" },
	{ "canonical_maps = inline:{{a@b.example=A@B.example}}", "a@b.example", "x@example.org", "A@B.example: x@example.org" },
	{ "canonical_maps = inline:{{@b.example=@d.example}}", "user@b.example", "b@b.example", "user@d.example: b@d.example<b@b.example" },
	{ "canonical_maps = inline:{{@b.example=one@d.example}}", "user@b.example", "x@example.org", "one@d.example: x@example.org" },
	{ "canonical_maps = inline:{{user=u@d.example}}", "user@here.example", "user@mx.example.com", "u@d.example: u@d.example<user@mx.example.com" },
	{ "canonical_maps = inline:{{user=u@d.example}}", "user@[127.0.0.1]", "user@example.org", "u@d.example: user@example.org" },
	{ "canonical_maps = inline:{{user=other}}", "user@here.example", "x@example.org", "other@mx.example.com: x@example.org" },
	{ "canonical_maps = inline:{{@b.example=@d.example}, {user@b.example=user@b.example}}", "user@b.example", "x@b.example",
	    "user@b.example: x@d.example<x@b.example" },
	{ "canonical_maps = inline:{{\"a b\"@b.example=c@d.example}}", "a b@b.example", "x@example.org", "c@d.example: x@example.org" },
	{ "canonical_maps = inline:{{a b@b.example=c@d.example}}", "a b@b.example", "x@example.org", "c@d.example: x@example.org" },
	{ "canonical_maps = inline:{{a@b.example=\"x y\"@d.example}}", "a@b.example", "x@example.org", "x y@d.example: x@example.org" },
	{ "canonical_maps = inline:{{a@b.example=Some One <one@d.example> (home)}}", "a@b.example", "x@example.org", "one@d.example: x@example.org" },
	{ "canonical_maps = inline:{{a@b.example=,}}", "a@b.example", "x@example.org", "TEMP the result of a lookup is no address" },
	{ "sender_canonical_maps = inline:{{a@b.example=c@d.example}}", "a@b.example", "a@b.example", "c@d.example: a@b.example" },
	{ "recipient_canonical_maps = inline:{{a@b.example=c@d.example}}", "a@b.example", "a@b.example", "a@b.example: c@d.example<a@b.example" },
	{ "sender_canonical_maps = inline:{{a@b.example=c@d.example}}\ncanonical_maps = inline:{{c@d.example=e@f.example},{a@b.example=no@no.example}}",
	    "a@b.example", "x@example.org", "e@f.example: x@example.org" },
	{ "canonical_maps = inline:{{a@b.example=c@d.example}}\ncanonical_classes = envelope_recipient", "a@b.example", "a@b.example",
	    "a@b.example: c@d.example<a@b.example" },
	{ "canonical_maps = inline:{{a@b.example=c@d.example}}\ncanonical_classes = header_sender", "a@b.example", "a@b.example", "a@b.example: a@b.example" },
	{ "canonical_maps = static:fail@x.example, inline:{{a@b.example=c@d.example}}", "", "a@b.example", ": fail@x.example<a@b.example" },
	{ "canonical_maps = fail:x", "a@b.example", "a@b.example", "TEMP fail:x lookup error" },
	/* each form of the key in all tables before the next form */
	{ "canonical_maps = inline:{{@b.example=@d.example}}, inline:{{a@b.example=one@d.example}}", "a@b.example", "x@example.org",
	    "one@d.example: x@example.org" },
	{ "canonical_maps = inline:{{a@b.example=c@d.example}}\nreceive_override_options = no_address_mappings", "a@b.example", "a@b.example",
	    "a@b.example: a@b.example" },

	/* extensions */
	{ "recipient_delimiter = +\ncanonical_maps = inline:{{a@b.example=c@d.example}}", "a+e@b.example", "x@example.org", "c+e@d.example: x@example.org" },
	{ "recipient_delimiter = +\ncanonical_maps = inline:{{a+e@b.example=c@d.example}}", "a+e@b.example", "x@example.org", "c@d.example: x@example.org" },
	{ "recipient_delimiter = +\ncanonical_maps = inline:{{@b.example=@d.example}}", "a+e@b.example", "x@example.org", "a+e@d.example: x@example.org" },
	{ "recipient_delimiter = +\ncanonical_maps = inline:{{a@b.example=@d.example}}", "a+e@b.example", "x@example.org", "a+e@d.example: x@example.org" },
	{ "recipient_delimiter = +\npropagate_unmatched_extensions =\ncanonical_maps = inline:{{a@b.example=@d.example}}", "a+e@b.example", "x@example.org",
	    "a@d.example: x@example.org" },
	{ "recipient_delimiter = +\npropagate_unmatched_extensions = virtual\ncanonical_maps = inline:{{a@b.example=c@d.example}}", "a+e@b.example",
	    "x@example.org", "c@d.example: x@example.org" },
	{ "recipient_delimiter = +-\ncanonical_maps = inline:{{a@b.example=c@d.example}}", "a-e+f@b.example", "x@example.org",
	    "c-e+f@d.example: x@example.org" },
	{ "recipient_delimiter = -\nvirtual_alias_maps = inline:{{list@b.example=c@d.example},{owner@b.example=no@d.example}}", "", "owner-list@b.example list-request@b.example list-x@b.example",
	    ": owner-list@b.example list-request@b.example c-x@d.example<list-x@b.example" },
	{ "recipient_delimiter = -\nowner_request_special = no\nvirtual_alias_maps = inline:{{list@b.example=c@d.example}}", "", "list-request@b.example",
	    ": c-request@d.example<list-request@b.example" },

	/* masquerade */
	{ "masquerade_domains = example.com", "a@x.example.com", "r@x.example.com", "a@example.com: r@x.example.com" },
	{ "masquerade_domains = example.com", "a@x.y.EXAMPLE.com", "x@example.org", "a@example.com: x@example.org" },
	{ "masquerade_domains = Example.COM", "a@EXAMPLE.com", "x@example.org", "a@EXAMPLE.com: x@example.org" },
	{ "masquerade_domains = example.com", "a@notexample.com", "x@example.org", "a@notexample.com: x@example.org" },
	{ "masquerade_domains = !x.example.com, example.com", "a@z.x.example.com", "x@example.org", "a@z.x.example.com: x@example.org" },
	{ "masquerade_domains = !x.example.com, example.com", "a@x.example.com", "x@example.org", "a@x.example.com: x@example.org" },
	{ "masquerade_domains = !!x.example.com example.com", "a@z.x.example.com", "x@example.org", "a@x.example.com: x@example.org" },
	{ "masquerade_domains = x.example.com example.com", "a@z.x.example.com", "x@example.org", "a@x.example.com: x@example.org" },
	{ "masquerade_domains = example.com\nmasquerade_exceptions = root", "root@x.example.com", "x@example.org", "root@x.example.com: x@example.org" },
	{ "masquerade_domains = example.com\nmasquerade_exceptions = fail:x", "root@x.example.com", "x@example.org", "TEMP" },
	{ "masquerade_domains = example.com\nmasquerade_classes = envelope_sender, envelope_recipient", "a@x.example.com", "r@x.example.com",
	    "a@example.com: r@example.com<r@x.example.com" },

	/* virtual aliases */
	{ "virtual_alias_maps = inline:{{a@b.example=c@d.example}}", "a@b.example", "a@b.example", "a@b.example: c@d.example<a@b.example" },
	{ "virtual_alias_maps = inline:{{a@b.example=c@d.example, e@f.example  g@h.example}}", "", "a@b.example",
	    ": c@d.example<a@b.example e@f.example<a@b.example g@h.example<a@b.example" },
	{ "virtual_alias_maps = inline:{{a@b.example=b@b.example, c@b.example}, {b@b.example=d@d.example}, {c@b.example=e@d.example, d@d.example}}", "",
	    "a@b.example", ": d@d.example<a@b.example e@d.example<a@b.example" },
	{ "virtual_alias_maps = inline:{{a@b.example=a@b.example, c@d.example}}", "", "a@b.example", ": a@b.example c@d.example<a@b.example" },
	{ "virtual_alias_maps = inline:{{a@b.example=A@B.example}}", "", "a@b.example", ": A@B.example<a@b.example" },
	{ "virtual_alias_maps = inline:{{a@b.example=c@d.example}, {c@d.example=a@b.example}}", "", "a@b.example",
	    "PERM unreasonable virtual_alias_maps map nesting" },
	{ "virtual_alias_maps = inline:{{a@b.example=a@b.example b@b.example}, {b@b.example=a@b.example}}", "", "a@b.example", ": a@b.example" },
	{ "virtual_alias_maps = inline:{{@b.example=@d.example}}", "", "a@b.example", ": a@d.example<a@b.example" },
	{ "virtual_alias_maps = inline:{{@b.example=@d.example, all@d.example}}", "", "a@b.example", ": a@d.example<a@b.example all@d.example<a@b.example" },
	{ "virtual_alias_maps = inline:{{@b.example=c@d.example}, {a@b.example=a@b.example}}", "", "a@b.example z@b.example",
	    ": a@b.example c@d.example<z@b.example" },
	{ "virtual_alias_maps = inline:{{b.example=anything}, {a@b.example=c@d.example}}", "", "a@b.example z@b.example",
	    ": c@d.example<a@b.example z@b.example" },
	{ "virtual_alias_maps = inline:{{a@b.example=x, y}}", "", "a@b.example", ": x@mx.example.com<a@b.example y@mx.example.com<a@b.example" },
	{ "virtual_alias_expansion_limit = 2\nvirtual_alias_maps = inline:{{a@b.example=x, y}}", "", "a@b.example",
	    ": x@mx.example.com<a@b.example y@mx.example.com<a@b.example" },
	{ "virtual_alias_expansion_limit = 2\nvirtual_alias_maps = inline:{{a@b.example=x, y, z}}", "", "a@b.example",
	    "PERM unreasonable virtual_alias_maps map expansion size" },
	{ "virtual_alias_recursion_limit = 2\nvirtual_alias_maps = inline:{{a@b.example=b@b.example}, {b@b.example=c@b.example}}", "", "a@b.example",
	    "PERM unreasonable virtual_alias_maps map nesting" },
	{ "virtual_alias_recursion_limit = 3\nvirtual_alias_maps = inline:{{a@b.example=b@b.example}, {b@b.example=c@b.example}}", "", "a@b.example",
	    ": c@b.example<a@b.example" },
	{ "virtual_alias_address_length_limit = 10\nvirtual_alias_maps = inline:{{a@b.example=c@d.example}}", "", "a@b.example",
	    "PERM unreasonable virtual_alias_maps result" },
	{ "virtual_alias_maps = inline:{{a@b.example=<>}}", "", "a@b.example", ": MAILER-DAEMON@mx.example.com<a@b.example" },
	{ "virtual_alias_maps = inline:{{a@b.example=c@d.example}}, fail:x", "", "a@b.example q@b.example", "TEMP fail:x lookup error" },
	{ "virtual_alias_maps = inline:{{a@b.example=c@d.example}}\nreceive_override_options = no_address_mappings", "", "a@b.example", ": a@b.example" },
	/* success reports: one recipient keeps the wish, several do not */
	{ "virtual_alias_maps = inline:{{a@b.example=c@d.example}, {b@b.example=x@d.example, y@d.example}}", "", "a@b.example/2 b@b.example/2 b@b.example/6",
	    ": a@b.example/18 c@d.example<a@b.example/1 b@b.example/18 x@d.example<b@b.example/1 y@d.example<b@b.example/1 b@b.example/18 x@d.example<b@b.example/4 "
	    "y@d.example<b@b.example/4" },
	/* duplicates: by recipient and what was given */
	{ "virtual_alias_maps = inline:{{a@b.example=c@d.example}, {b@b.example=c@d.example}}", "", "a@b.example b@b.example A@b.example c@d.example",
	    ": c@d.example<a@b.example c@d.example<b@b.example c@d.example" },
	{ "enable_original_recipient = no\nvirtual_alias_maps = inline:{{a@b.example=c@d.example}, {b@b.example=c@d.example}}", "",
	    "a@b.example b@b.example C@d.example", ": c@d.example<a@b.example" },
	{ "enable_original_recipient = no\nvirtual_alias_maps = inline:{{a@b.example=a@b.example, c@d.example}}", "", "a@b.example/2",
	    ": a@b.example/18 a@b.example/1 c@d.example<a@b.example/1" },
	{ "duplicate_filter_limit = 1", "", "a@b.example c@b.example A@b.example c@b.example", ": a@b.example c@b.example c@b.example" },

	/* automatic copies */
	{ "always_bcc = copy", "a@b.example", "x@example.org", "a@b.example: x@example.org copy@mx.example.com/1" },
	{ "sender_bcc_maps = inline:{{a@b.example=s@d.example}}\nrecipient_bcc_maps = inline:{{@example.org=r@d.example}}", "a@b.example",
	    "x@example.org y@example.org z@b.example", "a@b.example: s@d.example/1 x@example.org r@d.example/1 y@example.org z@b.example" },
	{ "sender_bcc_maps = inline:{{c@d.example=s@d.example}}\ncanonical_maps = inline:{{a@b.example=c@d.example}, {s@d.example=t@d.example}}", "a@b.example",
	    "x@example.org", "c@d.example: t@d.example/1 x@example.org" },
	{ "always_bcc = bcc@b.example\nvirtual_alias_maps = inline:{{bcc@b.example=p@d.example, q@d.example}}", "", "x@example.org",
	    ": x@example.org p@d.example<bcc@b.example/1 q@d.example<bcc@b.example/1" },
	{ "sender_bcc_maps = static:s@d.example", "", "x@example.org", ": x@example.org" },
	{ "recipient_bcc_maps = fail:x", "", "x@example.org", "TEMP fail:x lookup error" },
	{ "always_bcc = copy\nreceive_override_options = no_address_mappings", "", "x@example.org", ": x@example.org" },

	/* aliases of local recipients */
	{ "alias_maps = inline:{{root=admin@example.org}, {postmaster=root}}\nmyorigin = here.example", "", "postmaster@here.example", ": admin@example.org<postmaster@here.example" },
	{ "alias_maps = inline:{{root=admin@example.org}, {postmaster=root@here.example}}", "", "Postmaster@mx.example.com POSTMASTER@here.example ROOT@[127.0.0.1]",
	    ": Postmaster@mx.example.com admin@example.org<POSTMASTER@here.example admin@example.org<ROOT@[127.0.0.1]" },
	{ "alias_maps = inline:{{postmaster=root}}", "", "postmaster@here.example", ": root@mx.example.com<postmaster@here.example" },
	{ "alias_maps = inline:{{info=a@example.org, b@example.org}, {sales=b@example.org c@example.org}}", "", "info@here.example sales@here.example x@example.org",
	    ": a@example.org<info@here.example b@example.org<info@here.example b@example.org<sales@here.example c@example.org<sales@here.example "
	    "x@example.org" },
	{ "alias_maps = inline:{{a=b}, {b=a}}\nmyorigin = here.example", "", "a@here.example", ": a@here.example" },
	{ "alias_maps = inline:{{a=a, x@example.org}}\nmyorigin = here.example", "", "a@here.example", ": a@here.example x@example.org<a@here.example" },
	{ "alias_maps = inline:{{a=\"|/bin/x y\"}, {b=/var/mail/b, c@example.org}, {c=\\c}}", "", "a@here.example b@here.example c@here.example",
	    ": a@here.example c@example.org<b@here.example b@here.example c@here.example" },
	{ "alias_maps = inline:{{a=\"John Doe\" <j@example.org>, \"x y\"@example.org (home)}}", "", "a@here.example",
	    ": j@example.org<a@here.example x y@example.org<a@here.example" },
	{ "alias_maps = inline:{{a=v@b.example}}\nvirtual_alias_maps = inline:{{v@b.example=w@d.example}}\nrecipient_bcc_maps = inline:{{v@b.example=no@d.example}}",
	    "", "a@here.example", ": w@d.example<a@here.example" },
	{ "alias_maps = inline:{{a=z@example.org}}\nvirtual_alias_maps = inline:{{v@b.example=a@here.example}}", "", "v@b.example",
	    ": z@example.org<v@b.example" },
	{ "alias_maps = inline:{{a=z@example.org}}\nlocal_transport = smtp:[10.0.0.1]", "", "a@here.example", ": a@here.example" },
	{ "alias_maps = inline:{{a=z@example.org}}\ntransport_maps = inline:{{a@here.example=smtp:x}}", "", "a@here.example", ": a@here.example" },
	{ "alias_maps = inline:{{a=z@example.org}}\nlocal_transport = local:$myhostname", "", "a@here.example b@here.example", ": z@example.org<a@here.example b@here.example" },
	{ "alias_maps = fail:x", "", "a@here.example", "TEMP fail:x lookup error" },
	{ "alias_maps = fail:x", "", "x@example.org", ": x@example.org" },
	{ "recipient_delimiter = +\nalias_maps = inline:{{a=z@example.org}, {a+x=y@example.org}}", "", "a+q@here.example a+x@here.example",
	    ": z@example.org<a+q@here.example y@example.org<a+x@here.example" },
	{ "recipient_delimiter = +\npropagate_unmatched_extensions = alias\nalias_maps = inline:{{a=z@example.org}}", "", "a+q@here.example",
	    ": z+q@example.org<a+q@here.example" },
	{ "alias_maps = inline:{{list= :include:$config_directory/list}}", "", "list@here.example",
	    ": one@example.org<list@here.example two@example.org<list@here.example three@example.org<list@here.example" },
	{ "alias_maps = inline:{{list= :include:$config_directory/self}}", "", "list@here.example", ": one@example.org<list@here.example" },
	{ "alias_maps = inline:{{list= :include:$config_directory/empty}}", "", "list@here.example", ": list@here.example" },
	{ "alias_maps = inline:{{list= :include:/nonexistent/list}}", "", "list@here.example", "TEMP" },
	{ "alias_maps = inline:{{list=a@example.org, b@example.org}}", "", "list@here.example/2", ": list@here.example/18 a@example.org<list@here.example/1 b@example.org<list@here.example/1" },
	{ "alias_maps = inline:{{a=b%example.org@here.example}}", "", "a@here.example", ": b%example.org@here.example<a@here.example" },
};

static void
test_rows(void **state)
{
	(void)state;
	confdir_write("list", "# people\none@example.org, two@example.org\n\n  three@example.org\n#four@example.org\n");
	char self[200];
	snprintf(self, sizeof self, ":include:%s/self, :include:%s/self\none@example.org\n:include:%s/self\n", confdir, confdir, confdir);
	confdir_write("self", self);
	confdir_write("empty", "# nobody\n");
	unsigned bad = 0;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		open_conf(rows[i].conf);
		const char *got = rewritten(rows[i].from, rows[i].to, NULL);
		if (strncmp(rows[i].want, "TEMP", 4) == 0 && strlen(rows[i].want) == 4 ? strncmp(got, "TEMP ", 5) != 0 : strcmp(got, rows[i].want) != 0) {
			print_error("%s\n  <%s> to %s:\n    got  %s\n    want %s\n", rows[i].conf, rows[i].from, rows[i].to, got, rows[i].want);
			bad++;
		}
		close_conf();
	}
	assert_int_equal(bad, 0);
}

static void
test_extra(void **state)
{
	(void)state;
	const struct span bcc[] = { SPAN("spy"), SPAN("spy2@b.example") }, copies[] = { SPAN("spy3@b.example") };
	struct rewrite_extra x = { .bcc = bcc, .nbcc = 2 };
	open_conf("always_bcc = all@d.example\nrecipient_bcc_maps = inline:{{spy2@b.example=more@d.example}}");
	assert_string_equal(rewritten("a@b.example", "x@example.org", &x),
	    "a@b.example: x@example.org spy@mx.example.com<spy/1 spy2@b.example/1 more@d.example/1 all@d.example/1");
	/* of header and body checks: not looked up */
	x = (struct rewrite_extra){ .copies = copies, .ncopies = 1 };
	close_conf();
	open_conf("recipient_bcc_maps = inline:{{spy3@b.example=more@d.example}}");
	assert_string_equal(rewritten("a@b.example", "x@example.org", &x), "a@b.example: x@example.org spy3@b.example/1");
	x.no_bcc = true;
	x.ncopies = 0;
	assert_string_equal(rewritten("a@b.example", "x@example.org", &x), "a@b.example: x@example.org");
	close_conf();
	/* a redirect is not looked up, and takes the place of all */
	open_conf("virtual_alias_maps = inline:{{x@example.org=y@example.org}, {to@d.example=no@d.example}}");
	x = (struct rewrite_extra){ .redirect = SPAN("to@d.example") };
	assert_string_equal(rewritten("a@b.example", "x@example.org/2 z@example.org", &x), "a@b.example: x@example.org/18 to@d.example<x@example.org/1");
	x.redirect = SPAN("postmaster");
	assert_string_equal(rewritten("a@b.example", "z@example.org", &x), "a@b.example: postmaster@mx.example.com<z@example.org");
	close_conf();
}

static void
test_idle(void **state)
{
	(void)state;
	struct env_rcpt r[] = { { .addr = SPAN("x@example.org") } };
	struct envelope env = { .sender = SPAN("a@b.example"), .nrcpt = 1, .rcpt = r };
	open_conf("alias_maps = inline:{{root=x@example.org}}\nmasquerade_domains =\n");
	assert_true(rewrite_is_idle(t.w, &env, NULL));
	for (int class = REWRITE_ENVELOPE_SENDER; class <= REWRITE_HEADER_RCPT; class++)
		assert_true(rewriter_is_idle(t.w, (enum rewrite_class)class));
	r[0].addr = SPAN("root@HERE.example");
	assert_false(rewrite_is_idle(t.w, &env, NULL));
	close_conf();
	open_conf("masquerade_domains = example.com\n");
	r[0].addr = SPAN("x@example.org");
	assert_false(rewrite_is_idle(t.w, &env, NULL));
	assert_false(rewriter_is_idle(t.w, REWRITE_ENVELOPE_SENDER));
	assert_true(rewriter_is_idle(t.w, REWRITE_ENVELOPE_RCPT));
	assert_false(rewriter_is_idle(t.w, REWRITE_HEADER_RCPT));
	close_conf();
}

static void
test_generic(void **state)
{
	(void)state;
	static const struct {
		const char *conf, *in, *out;
	} g[] = {
		{ "", "a@b.example", "a@b.example" },
		{ "smtp_generic_maps = inline:{{a@b.example=c@d.example}, {c@d.example=no@d.example}}", "a@b.example", "c@d.example" },
		{ "smtp_generic_maps = inline:{{@b.example=@d.example}}", "a@b.example", "a@d.example" },
		{ "smtp_generic_maps = inline:{{user=u@provider.example}}", "user@mx.example.com", "u@provider.example" },
		{ "smtp_generic_maps = inline:{{user=u@provider.example}}", "user@example.org", "user@example.org" },
		{ "smtp_generic_maps = inline:{{user=u@provider.example}}\nrecipient_delimiter = +", "user+x@mx.example.com", "u@provider.example" },
		{ "smtp_generic_maps = inline:{{user=u@provider.example}}\nrecipient_delimiter = +\npropagate_unmatched_extensions = generic",
		    "user+x@mx.example.com", "u+x@provider.example" },
		{ "smtp_generic_maps = static:u@provider.example", "", "" },
		{ "smtp_generic_maps = fail:x", "a@b.example", "TEMP" },
	};
	for (size_t i = 0; i < NELEMS(g); i++) {
		char text[2000];
		struct generic *gen = NULL;
		struct err e = { .why = "" };
		struct buf out;
		struct span addr;
		snprintf(text, sizeof text, "mydestination = here.example\n%s\n", g[i].conf);
		struct conf *c = confdir_load(text);
		buf_init(&out, 1024);
		assert_int_equal(generic_open(c, NULL, "smtp_generic_maps", &gen, &e), RC_OK);
		assert_true(generic_is_idle(gen) == (g[i].conf[0] == '\0'));
		enum rc rc = generic_address(gen, span_str(g[i].in), &out, &addr, &e);
		if (strcmp(g[i].out, "TEMP") == 0)
			assert_int_equal(rc, RC_TEMP);
		else if (rc != RC_OK || !span_eq_str(addr, g[i].out))
			fail_msg("%s: %s", g[i].conf, g[i].in);
		buf_fini(&out);
		generic_free(&gen);
		conf_unref(&c);
	}
}

static void
test_check(void **state)
{
	(void)state;
	open_conf("alias_maps = inline:{{a=\"|/bin/x\"}, {b=/var/mail/b}, {c= :include:/nonexistent/list}, {d=nobody-here}, {e=x@example.org}}\n"
	    "myorigin = here.example\ncanonical_classes = envelope_sender, nonsense\nreceive_override_options = what");
	static const char *const said[] = { "alias \"a\": mail is not given to commands here", "alias \"b\": mail is not written to files",
		"alias \"c\": ", "alias \"d\": is no alias, and there are no mailboxes here: nobody-here" };
	for (size_t i = 0; i < NELEMS(said); i++)
		if (!confdir_has_problem(t.conf, CONF_WARNING, said[i]))
			fail_msg("not said: %s", said[i]);
	assert_false(confdir_has_problem(t.conf, CONF_WARNING, "alias \"e\""));
	assert_true(confdir_has_problem(t.conf, CONF_ERROR, "canonical_classes: there is no \"nonsense\""));
	assert_true(confdir_has_problem(t.conf, CONF_ERROR, "receive_override_options: there is no \"what\""));
	close_conf();
}

/* An address nobody can write down is no reason to forget it. */
static void
test_too_long(void **state)
{
	(void)state;
	char conf[3000], longest[1500];
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	snprintf(conf, sizeof conf, "virtual_alias_maps = inline:{{a@b.example=c@d.example, %s@d.example}}", longest);
	open_conf(conf);
	assert_string_equal(rewritten("", "a@b.example", NULL), "PERM unreasonable virtual_alias_maps result");
	close_conf();
	snprintf(conf, sizeof conf, "canonical_maps = inline:{{a@b.example=%s@d.example}}", longest);
	open_conf(conf);
	assert_string_equal(rewritten("", "a@b.example", NULL), "TEMP the result of a lookup is no address");
	close_conf();
	snprintf(conf, sizeof conf, "always_bcc = %s", longest);
	open_conf(conf);
	assert_string_equal(rewritten("", "a@b.example", NULL), "TEMP an automatic BCC cannot be an address");
	close_conf();
	snprintf(conf, sizeof conf, "alias_maps = inline:{{a=c@d.example, %s@d.example}}", longest);
	open_conf(conf);
	assert_string_equal(rewritten("", "a@here.example", NULL), ": c@d.example<a@here.example a@here.example");
	close_conf();
}

/* ---- long lists ---- */

static void
write_list(const char *name, unsigned n)
{
	struct buf text;
	buf_init(&text, 4 << 20);
	for (unsigned i = 0; i < n; i++)
		buf_printf(&text, "some.user.number%06u@remote-domain.example\n", i);
	confdir_write(name, buf_cstr(&text));
	buf_fini(&text);
}

/* CPU time to rewrite mail for a, whose list has n addresses. */
static double
seconds_of(const char *conf, unsigned n, const char *name, unsigned want)
{
	struct timespec begin, end;
	unsigned got = 0;
	write_list(name, n);
	open_conf(conf);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	const char *s = rewritten("", "a@here.example", NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	for (const char *p = s; (p = strchr(p, '<')) != NULL; p++)
		got++;
	if (got != want)
		fail_msg("%u addresses: %.100s", got, s);
	close_conf();
	return (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
}

/* Eight times as long a list takes about eight times as long, not sixty-four times. */
static void
test_long_lists(void **state)
{
	(void)state;
	static const char *const confs[] = {
		"alias_maps = inline:{{a= :include:$config_directory/list}}",
		"alias_maps = inline:{{a= :include:$config_directory/list}}\nduplicate_filter_limit = 1000000",
	};
	for (size_t i = 0; i < NELEMS(confs); i++) {
		double few = seconds_of(confs[i], 2000, "list", 2000), many = seconds_of(confs[i], 16000, "list", 16000);
		if (many > 20 * few)
			fail_msg("%s: %g s for 2000 addresses, %g s for 16000", confs[i], few, many);
	}
}

/* Each list of a list is read once, however often it is named. */
static void
test_lists_of_lists(void **state)
{
	(void)state;
	char name[40], text[400];
	for (unsigned i = 0; i < 18; i++) {
		snprintf(name, sizeof name, "deep%u", i);
		snprintf(text, sizeof text, ":include:%s/deep%u\n:include:%s/deep%u\n:include:%s/deep%u\n:include:%s/Empty\n", confdir, i + 1, confdir,
		    i + 1, confdir, i + 1, confdir);
		confdir_write(name, text);
	}
	confdir_write("Empty", "");
	confdir_write("empty", "one@example.org\n");
	confdir_write("deep18", "two@example.org\n");
	open_conf("alias_maps = inline:{{a= :include:$config_directory/deep0}, {b= :include:$config_directory/Empty, :include:$config_directory/Empty},"
	    "{c= d@here.example, e@here.example}, {d= :include:$config_directory/empty}, {e= :include:$config_directory/empty}}");
	assert_string_equal(rewritten("", "a@here.example", NULL), ": two@example.org<a@here.example");
	assert_string_equal(rewritten("", "b@here.example", NULL), ": b@here.example");
	assert_string_equal(rewritten("", "c@here.example", NULL), ": one@example.org<c@here.example");
	close_conf();
}

/* ---- lists of addresses ---- */

static void
test_lists(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} l[] = {
		{ "a@b", "a@b|" }, { "a@b,c@d", "a@b|c@d|" }, { " a@b , ,, c@d ;e", "a@b|c@d|e|" }, { "a@b c@d e", "a@b|c@d|e|" },
		{ "a @ b . c", "a@b.c|" }, { "\"a b\"@c", "a b@c|" }, { "\"a\\\"b\"@c", "a\"b@c|" }, { "a\\ b@c", "a b@c|" },
		{ "A B <c@d>, e@f", "c@d|e@f|" }, { "\"x, y\" <c@d> e@f", "c@d|e@f|" }, { "<@a,@b:c@d>", "c@d|" }, { "<>", "|" }, { "\"\"", "|" },
		{ "(only a comment)", "" }, { "", "" }, { ",", "" }, { "a(b (c) d)@e", "a@e|" }, { "a@[1.2.3.4]", "a@[1.2.3.4]|" },
		{ "\"|/bin/cat -u\"", "|/bin/cat -u|" }, { ":include:/a/b", ":include:/a/b|" }, { "/a/b", "/a/b|" }, { "\\root", "root|" },
		{ "\"a", "a|" }, { "<a", "a|" }, { "a>b", "a|b|" }, { "(", "" }, { "a (", "a|" }, { "<<a>>", "|a|" }, { "\\", "\\|" },
	};
	for (size_t i = 0; i < NELEMS(l); i++) {
		struct addrlist list = ADDRLIST(span_str(l[i].in));
		struct buf word, all;
		buf_init(&word, 256);
		buf_init(&all, 4096);
		while (addrlist_next(&list, &word)) {
			buf_put(&all, list.text);
			buf_putc(&all, '|');
		}
		if (strcmp(buf_cstr(&all), l[i].out) != 0)
			fail_msg("%s: %s, not %s", l[i].in, buf_cstr(&all), l[i].out);
		buf_fini(&word);
		buf_fini(&all);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_extra, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_idle, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_generic, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_check, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_too_long, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_long_lists, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_lists_of_lists, confdir_setup, confdir_teardown),
		cmocka_unit_test(test_lists),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

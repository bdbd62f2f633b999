/* SPDX-License-Identifier: BSD-2-Clause */
/* The reference of parameters, made from their rows: one at a time, or the whole manual page. */
#include "conf/param.h"
#include "conf/show.h"
#include "conf/snap.h"

static const char *
state(const struct param *row)
{
	if ((row->flags & P_LIVE) != 0)
		return "in use";
	return (row->flags & P_KNOWN) != 0 ? "known, not supported yet" : "accepted, has no effect here";
}

static void
put_range(FILE *out, const struct param *row)
{
	if (row->min[0] != '\0')
		fprintf(out, ", at least %s", row->min);
	if (row->max[0] != '\0')
		fprintf(out, ", at most %s", row->max);
}

bool
show_doc(FILE *out, struct conf *c, const char *name)
{
	const struct param *row = param_find(span_str(name));
	const char *def, *value = conf_value(c, NULL, name);
	if (row == NULL) {
		size_t n = snap_transport_suffix(span_str(name), &def);
		if (n == 0 || value == NULL)
			return false;
		fprintf(out, "%s\n    %s, for one transport.\n    value: %s\n", name, def, value);
		return true;
	}
	const struct setting *s = snap_setting(c, NULL, span_str(name));
	fprintf(out, "%s\n    %s\n    type: %s", name, row->doc, param_type_name(row->type));
	if (row->type == PT_TIME)
		fprintf(out, " (unit when none is written: %c)", param_unit(row));
	put_range(out, row);
	fprintf(out, "; %s\n    default: %s\n    value: %s\n", state(row), row->def,
	    value != NULL ? value : s != NULL ? s->value : row->def);
	if (s != NULL && s->line > 0)
		fprintf(out, "    set in %s, line %d\n", s->file, s->line);
	return true;
}

/* Text for roff: backslashes and leading dots or quotes mean nothing special. */
static void
put_roff(FILE *out, const char *s)
{
	if (*s == '.' || *s == '\'')
		fputs("\\&", out);
	for (; *s != '\0'; s++)
		switch (*s) {
		case '\\': fputs("\\e", out); break;
		case '-': fputs("\\-", out); break;
		case '"': fputs("\\(dq", out); break;
		default: fputc(*s, out);
		}
}

static void
man_row(FILE *out, const struct param *row)
{
	fprintf(out, ".TP\n.B ");
	put_roff(out, row->name);
	fprintf(out, "\n");
	put_roff(out, row->doc);
	fprintf(out, "\n.br\n%c%s", param_type_name(row->type)[0] - 'a' + 'A', param_type_name(row->type) + 1);
	put_range(out, row);
	if ((row->flags & P_LIVE) == 0)
		fprintf(out, "; %s", state(row));
	fprintf(out, ". Default: ");
	put_roff(out, row->def[0] != '\0' ? row->def : "empty");
	fprintf(out, "\n");
}

void
show_man(FILE *out)
{
	fputs(".TH DOGANA.CF 5\n.SH NAME\ndogana.cf \\- parameters of the Dogana mail gateway\n"
	      ".SH DESCRIPTION\nThe configuration directory holds either a main.cf, read like Postfix's and followed by the files\n"
	      "conf.d/*.cf in name order, or no main.cf but *.cf files, read in name order. Services come from master.cf.\n"
	      "A line is\n.I name = value\nand goes on with lines that begin with white space; # begins a comment line.\n"
	      ".I $name\nin a value stands for the value of that parameter. Names that are not in this list may be given values and\n"
	      "used in others. In master.cf,\n.B \\-o\n.I name=value\ngives a parameter another value for one service.\n"
	      ".PP\nTime values are a number and a unit: s, m, h, d or w.\n"
	      ".PP\nEvery transport T of master.cf has its own",
	    out);
	for (size_t i = 0; snap_suffix_at(i) != NULL; i++) {
		fprintf(out, "%s\n.I T_", i == 0 ? "" : ",");
		put_roff(out, snap_suffix_at(i));
	}
	fputs(";\nwithout a value they follow the parameter whose name begins with default_.\n.SH PARAMETERS\n", out);
	for (size_t i = 0; i < param_count(); i++)
		man_row(out, param_at(i));
}

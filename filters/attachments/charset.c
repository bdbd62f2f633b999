/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/names.h"

#include <errno.h>
#include <iconv.h>

/* Those that mail has; the code of each stays in memory for the life of the process. Others are read as they are. */
static const char *const charsets[] = { "UTF-7", "UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32", "ISO-8859-1", "ISO-8859-2", "ISO-8859-3", "ISO-8859-4",
	"ISO-8859-5", "ISO-8859-6", "ISO-8859-7", "ISO-8859-8", "ISO-8859-9", "ISO-8859-10", "ISO-8859-13", "ISO-8859-14", "ISO-8859-15", "CP437", "CP850",
	"CP866", "CP1250", "CP1251", "CP1252", "CP1253", "CP1254", "CP1255", "CP1256", "CP1257", "CP1258", "KOI8-R", "KOI8-U", "GB2312", "GBK",
	"GB18030", "BIG5", "BIG5-HKSCS", "EUC-JP", "EUC-KR", "SHIFT_JIS", "ISO-2022-JP", "ISO-2022-KR", "CP949", "CP932", "HZ", "TIS-620", "IBM037",
	"IBM1047", "MACINTOSH" };

void
names_prepare(void)
{
	static iconv_t kept[NELEMS(charsets)]; /* open: closing would unload the code */
	for (size_t i = 0; i < NELEMS(charsets); i++)
		if (kept[i] == NULL)
			kept[i] = iconv_open("UTF-8", charsets[i]);
}

enum rc
names_charset(struct span charset, struct span text, struct buf *out)
{
	char name[40];
	if (charset.n == 0 || charset.n >= sizeof name)
		return RC_NONE;
	for (size_t i = 0; i < charset.n; i++) {
		unsigned char c = charset.p[i];
		if (c <= ' ' || c >= 0x7f || c == '/')
			return RC_NONE;
		name[i] = (char)c;
	}
	name[charset.n] = '\0';
	iconv_t cd = iconv_open("UTF-8", name);
	if (cd == (iconv_t)-1)
		return RC_NONE;
	char *in = (char *)(uintptr_t)text.p; /* iconv() does not write there */
	size_t left = text.n;
	while (left > 0 && !out->over) {
		unsigned char *room = buf_reserve(out, text.n * 4 + 16);
		if (room == NULL)
			break;
		char *p = (char *)room;
		size_t space = text.n * 4 + 16;
		size_t r = iconv(cd, &in, &left, &p, &space);
		buf_commit(out, text.n * 4 + 16 - space);
		if (r == (size_t)-1 && errno != E2BIG && left > 0) { /* what is no character of the set is left out */
			in++;
			left--;
			buf_putc(out, '?');
		}
	}
	iconv_close(cd);
	return RC_OK;
}

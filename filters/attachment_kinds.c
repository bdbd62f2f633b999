/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachment_kinds.h"

static const char *const group_names[] = {
#define GROUP(name, doc) #name,
#include "filters/attachment_kinds.def"
#undef GROUP
};

static const struct {
	const char *name, *group;
} kind_rows[] = {
#define KIND(name, groups, doc) { #name, #groups },
#include "filters/attachment_kinds.def"
#undef KIND
};

struct magic {
	unsigned at;
	unsigned n;
	const char *octets;
	uint64_t kind;
};

#define MAGIC(at, octets, kind) { (at), sizeof(octets) - 1, (octets), KIND_IS(kind) }
/* All rows that fit count: a file may be two things. */
static const struct magic magics[] = {
	MAGIC(0, "MZ", exe), MAGIC(0, "ZM", exe),
	MAGIC(0, "\x7f" "ELF", elf),
	MAGIC(0, "\xfe\xed\xfa\xce", macho), MAGIC(0, "\xfe\xed\xfa\xcf", macho), MAGIC(0, "\xce\xfa\xed\xfe", macho),
	MAGIC(0, "\xcf\xfa\xed\xfe", macho), MAGIC(0, "\xca\xfe\xba\xbe", macho), MAGIC(0, "\xca\xfe\xba\xbe", class),
	MAGIC(0, "\xca\xfe\xd0\x0d", class), /* Pack200 */
	MAGIC(0, "dex\n", dex),
	MAGIC(0, "#!", script), MAGIC(0, "\xef\xbb\xbf#!", script),
	MAGIC(0, "L\0\0\0\x01\x14\x02\0", lnk), MAGIC(0, "[InternetShortcut]", lnk), MAGIC(0, "[Desktop Entry]", lnk),
	MAGIC(0, "ITSF", chm), MAGIC(0, "\0asm", wasm),
	MAGIC(0, "REGEDIT4", registry), MAGIC(0, "Windows Registry Editor", registry), MAGIC(0, "\xff\xfeW\0i\0n\0d\0o\0w\0s\0 \0R\0e\0g\0", registry),
	MAGIC(0, "\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3", onenote),
	MAGIC(0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ole), MAGIC(0, "\x0e\x11\xfc\x0d\xd0\xcf\x11\x0e", ole),
	MAGIC(0, "{\\rt", rtf),
	MAGIC(0, "PK\x03\x04", zip), MAGIC(0, "PK\x05\x06", zip), MAGIC(0, "PK\x07\x08", zip), MAGIC(0, "PK00PK\x03\x04", zip),
	MAGIC(0, "Rar!\x1a\x07", rar), MAGIC(0, "RE~^", rar),
	MAGIC(0, "7z\xbc\xaf\x27\x1c", sevenzip),
	MAGIC(0, "\x1f\x8b", gzip), MAGIC(0, "BZh", bzip2), MAGIC(0, "\xfd" "7zXZ\0", xz), MAGIC(0, "LZIP", lzma), MAGIC(0, "]\0\0", lzma),
	MAGIC(0, "\x28\xb5\x2f\xfd", zstd), MAGIC(0, "\x04\x22\x4d\x18", lz4), MAGIC(0, "\x1f\x9d", compress), MAGIC(0, "\x1f\xa0", compress),
	MAGIC(257, "ustar", tar),
	MAGIC(0, "MSCF", cab), MAGIC(0, "ISc(", cab), MAGIC(0, "\x60\xea", arj), MAGIC(7, "**ACE**", ace), MAGIC(20, "\xdc\xa7\xc4\xfd", zoo),
	MAGIC(2, "-lh", lha), MAGIC(2, "-lz", lha),
	MAGIC(0, "070701", cpio), MAGIC(0, "070702", cpio), MAGIC(0, "070707", cpio), MAGIC(0, "\xed\xab\xee\xdb", cpio),
	MAGIC(0, "!<arch>\n", ar), MAGIC(0, "xar!", xar),
	MAGIC(0x8001, "CD001", iso), MAGIC(0x8001, "BEA01", iso), MAGIC(0x8001, "NSR0", iso), MAGIC(0x8801, "CD001", iso), MAGIC(0x8801, "NSR0", iso),
	MAGIC(0, "vhdxfile", vhd), MAGIC(0, "conectix", vhd), MAGIC(0, "KDMV", vhd), MAGIC(0, "QFI\xfb", vhd), MAGIC(0, "# Disk DescriptorFile", vhd),
	MAGIC(0, "MSWIM\0\0\0", wim), MAGIC(0, "WLPWM\0\0\0", wim),
	MAGIC(0, "\x78\x9f\x3e\x22", tnef),
	MAGIC(0, "\x89PNG", png), MAGIC(0, "\xff\xd8\xff", jpeg), MAGIC(0, "GIF8", gif), MAGIC(0, "BM", bmp), MAGIC(0, "\0\0\1\0", bmp),
	MAGIC(0, "\0\0\2\0", bmp), MAGIC(0, "II*\0", tiff), MAGIC(0, "MM\0*", tiff), MAGIC(8, "WEBP", webp), MAGIC(4, "ftypheic", webp),
	MAGIC(4, "ftypavif", webp), MAGIC(4, "ftypmif1", webp), MAGIC(0, "\xd7\xcd\xc6\x9a", wmf), MAGIC(0, "\x01\0\x09\0\0\x03", wmf),
	MAGIC(40, " EMF", wmf), MAGIC(0, "8BPS", psd),
	MAGIC(0, "ID3", audio), MAGIC(0, "\xff\xfb", audio), MAGIC(8, "WAVE", audio), MAGIC(0, "fLaC", audio), MAGIC(0, "OggS", audio),
	MAGIC(4, "ftyp", video), MAGIC(8, "AVI ", video), MAGIC(0, "\x1a\x45\xdf\xa3", video), MAGIC(4, "moov", video),
	MAGIC(0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", video), MAGIC(0, "\0\0\1\xba", video),
	MAGIC(0, "FWS", flash), MAGIC(0, "CWS", flash), MAGIC(0, "ZWS", flash),
};

/* Text that is told by how it begins, white space and byte order marks aside, without case. */
static const struct {
	const char *text;
	uint64_t kind;
} beginnings[] = {
	{ "<!doctype html", KIND_IS(html) }, { "<html", KIND_IS(html) }, { "<head", KIND_IS(html) }, { "<body", KIND_IS(html) }, { "<script", KIND_IS(html) },
	{ "<?xml", KIND_IS(xml) }, { "<svg", KIND_IS(svg) }, { "<hta:", KIND_IS(html) | KIND_IS(script) }, { "<job", KIND_IS(script) },
	{ "<package", KIND_IS(script) }, { "<scriptlet", KIND_IS(script) }, { "@echo off", KIND_IS(script) }, { "[internetshortcut]", KIND_IS(lnk) },
	{ "windows registry editor", KIND_IS(registry) }, { "on error resume next", KIND_IS(script) }, { "wscript.", KIND_IS(script) },
	{ "received:", KIND_IS(mail) }, { "return-path:", KIND_IS(mail) }, { "delivered-to:", KIND_IS(mail) }, { "mime-version:", KIND_IS(mail) },
	{ "message-id:", KIND_IS(mail) },
};

static bool
has_at(struct span head, size_t at, const char *octets, size_t n)
{
	return head.n >= at + n && memcmp(head.p + at, octets, n) == 0;
}

/* A tar of before 1988 has no magic: its header says a sum of itself. */
static bool
is_old_tar(struct span head)
{
	if (head.n < 512 || head.p[0] == 0)
		return false;
	unsigned long sum = 0, said = 0;
	unsigned digits = 0;
	for (size_t i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? ' ' : head.p[i];
	for (size_t i = 148; i < 156; i++)
		if (head.p[i] >= '0' && head.p[i] <= '7') {
			said = said * 8 + (unsigned)(head.p[i] - '0');
			digits++;
		} else if (digits > 0)
			break;
	return digits >= 3 && said == sum;
}

static uint64_t
text_kinds(struct span head)
{
	if (has_at(head, 0, "\xef\xbb\xbf", 3))
		head = span_from(head, 3);
	unsigned char narrow[64]; /* UTF-16 as ASCII: only its beginning counts */
	if (head.n >= 4 && ((head.p[0] == 0xff && head.p[1] == 0xfe) || (head.p[0] == 0xfe && head.p[1] == 0xff) || head.p[1] == 0 || head.p[0] == 0)) {
		size_t n = 0;
		for (size_t i = head.p[0] >= 0xfe ? 2 : 0; i < head.n && n < sizeof narrow; i++)
			if (head.p[i] != 0)
				narrow[n++] = head.p[i];
		head = span_of(narrow, n);
	}
	while (head.n > 0 && (head.p[0] == ' ' || (head.p[0] >= '\t' && head.p[0] <= '\r')))
		head = span_from(head, 1);
	uint64_t kinds = 0;
	for (size_t i = 0; i < NELEMS(beginnings); i++)
		if (span_casestarts(head, span_str(beginnings[i].text)))
			kinds |= beginnings[i].kind;
	return kinds;
}

uint64_t
kinds_of(struct span head, uint64_t total)
{
	if (head.n == 0)
		return total == 0 ? KIND_IS(empty) : 0;
	uint64_t kinds = 0;
	for (size_t i = 0; i < NELEMS(magics); i++)
		if (has_at(head, magics[i].at, magics[i].octets, magics[i].n))
			kinds |= magics[i].kind;
	/* "BM" and "MZ" may begin a text; programs are taken at their word, pictures only with a header behind it */
	if ((kinds & KIND_IS(bmp)) != 0 && head.n >= 2 && head.p[0] == 'B' && (head.n < 18 || head.p[6] != 0 || head.p[7] != 0))
		kinds &= ~KIND_IS(bmp);
	if ((kinds & KIND_IS(exe)) != 0 && head.n > 64) {
		bool text = true; /* 64 octets without a control character are no header of a program */
		for (size_t i = 0; i < 64; i++)
			if ((head.p[i] < ' ' && head.p[i] != '\n' && head.p[i] != '\r' && head.p[i] != '\t') || head.p[i] >= 0x7f)
				text = false;
		if (text)
			kinds &= ~KIND_IS(exe);
	}
	if ((kinds & KIND_IS(macho)) != 0 && head.p[0] == 0xca && head.n >= 8) /* fat binaries count few architectures, Java begins with a version over 44 */
		kinds &= ~(head.p[4] == 0 && head.p[5] == 0 && head.p[6] == 0 && head.p[7] < 40 ? KIND_IS(class) : KIND_IS(macho));
	if (span_find(span_head(head, 1024), SPAN("%PDF-")) != SIZE_MAX)
		kinds |= KIND_IS(pdf);
	if ((kinds & KIND_IS(tar)) == 0 && is_old_tar(head))
		kinds |= KIND_IS(tar);
	return kinds | text_kinds(head);
}

/* UTF-16 as it stands in directories of compound files. */
static bool
has_wide(struct span file, const char *text)
{
	unsigned char wide[64];
	size_t n = 0;
	for (; *text != '\0' && n + 2 <= sizeof wide; text++) {
		wide[n++] = (unsigned char)*text;
		wide[n++] = 0;
	}
	return span_find(file, span_of(wide, n)) != SIZE_MAX;
}

/* Identity of installers in the root entry of a compound file, and of their patches and transforms. */
static bool
has_installer_id(struct span file)
{
	for (unsigned id = 0x82; id <= 0x86; id += 2) {
		unsigned char clsid[16] = { (unsigned char)id, 0x10, 0x0c, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46 };
		if (span_find(file, span_of(clsid, sizeof clsid)) != SIZE_MAX)
			return true;
	}
	return false;
}

uint64_t
kinds_of_whole(struct span file, uint64_t kinds, bool *encrypted_out)
{
	*encrypted_out = false;
	if ((kinds & KIND_IS(ole)) != 0) {
		if (has_installer_id(file))
			kinds |= KIND_IS(msi);
		if (has_wide(file, "_VBA_PROJECT"))
			kinds |= KIND_IS(macro);
		if (has_wide(file, "EncryptedPackage"))
			*encrypted_out = true;
	}
	if ((kinds & KIND_IS(pdf)) != 0 && span_find(file, SPAN("/Encrypt")) != SIZE_MAX)
		*encrypted_out = true;
	if ((kinds & KIND_IS(xml)) != 0) {
		struct span head = span_head(file, 4096);
		if (span_find(head, SPAN("<svg")) != SIZE_MAX)
			kinds |= KIND_IS(svg);
		if (span_find(head, SPAN("<job")) != SIZE_MAX || span_find(head, SPAN("<scriptlet")) != SIZE_MAX)
			kinds |= KIND_IS(script);
		if (span_find(head, SPAN("progid=\"Word.Document\"")) != SIZE_MAX && span_find(file, SPAN("w:macrosPresent=\"yes\"")) != SIZE_MAX)
			kinds |= KIND_IS(macro);
	}
	if (file.n >= 512 && has_at(span_from(file, file.n - 512), 0, "koly", 4))
		kinds |= KIND_IS(dmg);
	if (file.n >= 512 && has_at(span_from(file, file.n - 512), 0, "conectix", 8))
		kinds |= KIND_IS(vhd);
	return kinds;
}

uint64_t
kinds_named(struct span name)
{
	if (span_caseeq_str(name, "7z"))
		return KIND_IS(sevenzip);
	for (size_t i = 0; i < NELEMS(kind_rows); i++)
		if (span_caseeq_str(name, kind_rows[i].name))
			return (uint64_t)1 << i;
	uint64_t group = 0;
	for (size_t g = 0; g < NELEMS(group_names); g++)
		if (span_caseeq_str(name, group_names[g]))
			for (size_t i = 0; i < NELEMS(kind_rows); i++)
				if (strcmp(kind_rows[i].group, group_names[g]) == 0)
					group |= (uint64_t)1 << i;
	return group;
}

void
kinds_text(uint64_t kinds, char *out, size_t size)
{
	size_t n = 0;
	out[0] = '\0';
	for (size_t i = 0; i < NELEMS(kind_rows) && n < size; i++)
		if ((kinds >> i & 1) != 0)
			n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? " " : "", kind_rows[i].name);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * decode.h - transfer encodings as mail clients read them: what is wrong is skipped, nothing is refused. Pure.
 *
 * Output is appended and stops at the limit of out (out->over says so) or after max octets.
 */
#ifndef ATTACHMENTS_DECODE_H
#define ATTACHMENTS_DECODE_H

#include "base/buf.h"

/* What a Content-Transfer-Encoding may mean: bits, because readings differ. */
enum decode_cte { DECODE_NONE = 1, DECODE_BASE64 = 2, DECODE_QP = 4, DECODE_UU = 8, DECODE_YENC = 16, DECODE_BINHEX = 32 };

/* Every encoding that a client may see in the value of one header. */
unsigned decode_cte_of(struct span value);
void decode_base64(struct span in, struct buf *out, size_t max);
void decode_qp(struct span in, struct buf *out, size_t max);
/* Lines of uuencode without "begin" and "end". */
void decode_uu(struct span in, struct buf *out, size_t max);
void decode_yenc(struct span in, struct buf *out, size_t max);
/* The data fork of BinHex 4.0 text, behind its first colon; name_out: in what was decoded. RC_NONE: it is none. */
enum rc decode_binhex(struct span in, struct buf *scratch, struct buf *out, size_t max, struct span *name_out) MUST_CHECK;
void decode_one(enum decode_cte cte, struct span in, struct buf *out, size_t max);
/* Its first octets look like base64 although nobody says so. */
bool decode_looks_base64(struct span in);

int decode_hex(unsigned char c);                 /* value of a hexadecimal digit, or -1 */

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What a released message gets in front: a Received line, or a message round it. */
#include "base/rand.h"
#include "msg/addr.h"
#include "msg/date.h"
#include "queue/release.h"

enum { SHOWN = 300 };

void
wrap_received(struct buf *front, const struct wrap *w)
{
	buf_puts(front, "Received: from quarantine (");
	buf_puts(front, w->myhostname);
	buf_puts(front, " [held as ");
	buf_put(front, w->from_id);
	buf_puts(front, "])\r\n\tby ");
	buf_puts(front, w->myhostname);
	buf_puts(front, " (");
	buf_puts(front, w->mail_name);
	buf_puts(front, ") id ");
	buf_put(front, w->qid);
	buf_puts(front, ";\r\n\t");
	date_write(front, w->now);
	buf_puts(front, "\r\n");
}

static void
put_header(struct buf *b, const char *name, struct span text)
{
	buf_puts(b, name);
	buf_puts(b, ": ");
	buf_put_safe(b, text, SHOWN, true);
	buf_puts(b, "\r\n");
}

static void
put_line(struct buf *b, const char *name, struct span text)
{
	buf_puts(b, name);
	buf_put_safe(b, text, SHOWN, true);
	buf_puts(b, "\r\n");
}

void
wrap_attach(struct buf *front, struct buf *back, const struct wrap *w)
{
	unsigned char random[16];
	char boundary[2 * sizeof random + 1];
	rand_bytes(random, sizeof random);
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(boundary + 2 * i, 3, "%02x", random[i]);
	/* words of the held message that are not ASCII make this one UTF-8, as it is then: nothing here is encoded */
	bool plain = span_is_ascii(w->subject) && span_is_ascii(w->reason);
	const char *how = plain && !w->is_8bit ? "7bit" : "8bit";
	wrap_received(front, w);
	buf_puts(front, "Date: ");
	date_write(front, w->now);
	buf_puts(front, "\r\nFrom: MAILER-DAEMON@");
	buf_puts(front, w->myorigin);
	buf_puts(front, " (Mail Quarantine)\r\n");
	struct buf to;
	buf_init(&to, 4096);
	addr_write_text(&to, w->to);
	put_header(front, "To", w->to.n > 0 ? buf_span(&to) : SPAN("undisclosed-recipients:;"));
	buf_fini(&to);
	put_header(front, "Subject", span_is_ascii(w->subject) && w->subject.n > 0 ? w->subject : SPAN("Released from the quarantine"));
	buf_puts(front, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nMessage-Id: <");
	buf_put(front, w->qid);
	buf_putc(front, '@');
	buf_puts(front, w->myhostname);
	buf_printf(front, ">\r\nContent-Type: multipart/mixed; boundary=\"%s\"\r\nContent-Transfer-Encoding: %s\r\n\r\n--%s\r\n", boundary, how, boundary);
	buf_printf(front, "Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n", plain ? "us-ascii" : "utf-8", plain ? "7bit" : "8bit");
	buf_puts(front, "The attached message was held in the quarantine of ");
	buf_puts(front, w->myhostname);
	buf_puts(front, " and has been\r\nreleased by an administrator.\r\n\r\n");
	put_line(front, "Queue id: ", w->from_id);
	put_line(front, "Subject:  ", w->subject);
	buf_puts(front, "Reason:   ");
	buf_put(front, w->class);
	put_line(front, ": ", w->reason);
	buf_printf(front, "\r\n--%s\r\nContent-Type: message/%s\r\nContent-Disposition: attachment; filename=\"message.eml\"\r\n"
	    "Content-Transfer-Encoding: %s\r\n\r\n", boundary, w->is_utf8 ? "global" : "rfc822", w->is_8bit ? "8bit" : "7bit");
	buf_printf(back, "\r\n--%s--\r\n", boundary);
}

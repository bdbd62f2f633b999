# SPDX-License-Identifier: BSD-2-Clause
"""Where random sessions (sessions.py) may differ, each with its reason. All patterns of a row must match: the command,
Postfix's reply, ours, and where given the service's settings."""

DIFFERENCES = [
    {'command': '', 'theirs': r'loop1\.example', 'ours': '',
     'why': 'an endless chain of aliases is a mistake of a name server: temporary, not "there is no such name"'},
    {'command': r'arrival', 'theirs': r"<(extra|second)@any\.example>', [2-9]\)", 'ours': r"<(extra|second)@any\.example>', 1\)",
     'why': 'one copy, however many rules say BCC'},
    {'command': '', 'theirs': r'^[45]\d\d[ -][45]\.(1\.4|0\.0) .* rejected: ', 'ours': r'^[45]\d\d[ -][45]\.(1\.4|0\.0) .* rejected: Access denied',
     'why': 'a result that ends behind its status code has no text: Postfix says what happened to lie behind it'},
    {'command': r'MAIL', 'theirs': r'Error: nested MAIL command', 'ours': r'^(250|501)', 'settings': r'smtpd_end_of_data_restrictions = \S',
     'why': 'the reply to the end of data ends the transaction, also when a restriction refuses it (RFC 5321 4.1.4)'},
    {'command': '', 'theirs': r'^5', 'ours': r'^4\d\d 4\.\d\.\d <unknown>: Client host rejected: Service unavailable$', 'settings': r'permit_rhswl_client ',
     'why': 'the name of the client is not known, for a temporary reason, so its allow list could not be asked: a refusal behind it is temporary, too'},
    {'command': r'MAIL|RCPT', 'theirs': r'^401.4\.1\.[37] Bad', 'ours': r'^501.5\.1\.[37] Bad', 'why': 'what is no address is none tomorrow either'},
]

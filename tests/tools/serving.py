# SPDX-License-Identifier: BSD-2-Clause
"""What the pretended servers beside this file have in common: where they listen, "ready", and a thread for each connection."""

import os
import socket
import threading


def listen(place):
    """place: a port of 127.0.0.1, or the path of a socket that everybody may use (the gateway comes as the user of its edge)."""
    if place.isdigit():
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(('127.0.0.1', int(place)))
    else:
        os.makedirs(os.path.dirname(os.path.abspath(place)), exist_ok=True)
        if os.path.exists(place):
            os.unlink(place)
        server = socket.socket(socket.AF_UNIX)
        server.bind(place)
        os.chmod(place, 0o666)
    server.listen(128)
    return server


def serve_for_ever(place, serve):
    """Says "ready" when it listens; then serve(connection, its number from 1) for each. A connection that breaks is nobody's fault."""
    def quietly(conn, number):
        try:
            serve(conn, number)
        except OSError:
            pass
    server = listen(place)
    print('ready', flush=True)
    number = 0
    while True:
        conn = server.accept()[0]
        if conn.family != socket.AF_UNIX:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number += 1
        threading.Thread(target=quietly, args=(conn, number), daemon=True).start()

"""The listener that a launcher makes and its servers inherit."""

import socket

# Room for every connection of a run at once. The kernel limits it to somaxconn.
BACKLOG = 8192


def listen(port, reuse_port, congestion):
    """A listener on loopback whose options its connections inherit."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if congestion:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    return listener

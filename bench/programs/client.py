"""The WebSocket client of bench/programs: streams of large messages, and sessions of one byte. It masks nothing while it measures."""

import contextlib
import socket
import threading
import time

MESSAGE_BYTES = 64 << 10
RECEIVE_BYTES = 1 << 20
STALL_S = 10.0
MASKING_KEY = b"\x00\x00\x00\x00"  # of zeros: the payload lies on the wire as it is
BYTE = b"\x82\x81" + MASKING_KEY + b"x"
BYTE_BACK = b"\x82\x01x"
CLOSE = b"\x88\x82" + MASKING_KEY + b"\x03\xe8"


class Failed(Exception):
    """A server that does not do what is measured."""


def message(size=MESSAGE_BYTES):
    """A binary message of any size that has a length of eight bytes."""
    return b"\x82\xff" + size.to_bytes(8, "big") + MASKING_KEY + bytes(range(256)) * (size // 256)


def opened(port):
    """An open WebSocket, and nothing behind the head: a server may refuse what is sent before its 101."""
    client = socket.create_connection(("127.0.0.1", port), STALL_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(4096)
        if not more:
            raise Failed(f"the server closed: {head!r}")
        head += more
    if not head.startswith(b"HTTP/1.1 101 "):
        raise Failed(head.split(b"\r\n")[0].decode(errors="replace"))
    return client, head.partition(b"\r\n\r\n")[2]


class Stream:
    """One WebSocket that sends, receives, or both, until it is closed. What is counted are bytes on the wire, of which at most 10 in 64 KiB are headers."""

    def __init__(self, port, mode):
        self.client, early = opened(port)
        self.sent, self.received = 0, len(early)
        self.failure = None
        self.is_over = False
        parts = {"up": [self.send], "down": [self.receive], "echo": [self.send, self.receive]}[mode]
        self.counted = "sent" if mode == "up" else "received"
        self.threads = [threading.Thread(target=self.until_over, args=(part,), daemon=True) for part in parts]
        for thread in self.threads:
            thread.start()

    def until_over(self, part):
        try:
            while not self.is_over:
                part()
        except OSError as error:
            if not self.is_over:
                self.failure = str(error) or type(error).__name__

    def send(self, bytes_=message()):
        self.client.sendall(bytes_)
        self.sent += MESSAGE_BYTES

    def receive(self, buffer=bytearray(RECEIVE_BYTES)):
        received = self.client.recv_into(buffer)
        if not received:
            raise ConnectionError("the server closed")
        self.received += received

    def work(self):
        return getattr(self, self.counted)

    def close(self):
        self.is_over = True
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)  # which wakes the threads
        for thread in self.threads:
            thread.join(STALL_S)
        self.client.close()


class Sessions:
    """Sessions one after the other, in each of `at_once` threads: open, a byte there and back, a closing handshake, the end of the connection."""

    def __init__(self, port, at_once):
        self.counts = [0] * at_once
        self.failure = None
        self.is_over = False
        self.threads = [threading.Thread(target=self.until_over, args=(port, at), daemon=True) for at in range(at_once)]
        for thread in self.threads:
            thread.start()

    def until_over(self, port, at):
        try:
            while not self.is_over:
                session(port)
                self.counts[at] += 1
        except (OSError, Failed) as error:
            self.failure = str(error) or type(error).__name__

    def work(self):
        return sum(self.counts)

    def close(self):
        self.is_over = True
        for thread in self.threads:
            thread.join(STALL_S)


def echoed(port):
    """A WebSocket whose program has sent a byte back."""
    client, answer = opened(port)
    client.sendall(BYTE)
    while len(answer) < len(BYTE_BACK):
        more = client.recv(64)
        if not more:
            raise Failed("the server closed before the byte was back")
        answer += more
    if answer != BYTE_BACK:
        raise Failed(f"another byte came back: {answer!r}")
    return client


def session(port):
    with echoed(port) as client:
        client.sendall(CLOSE)
        while client.recv(4096):
            pass


def window(load, seconds, warm_up, cpu_of):
    """The work in a window, its length, and the CPU time that `cpu_of()` tells, as differences."""
    time.sleep(warm_up)
    began, before, used = time.monotonic(), load.work(), cpu_of()
    time.sleep(seconds)
    after, now = cpu_of(), time.monotonic()
    work = load.work() - before
    if load.failure:
        raise Failed(load.failure)
    if not work:
        raise Failed("nothing moves: both sides wait for the other")
    return {"work": work, "seconds": now - began, **{name: after[name] - used[name] for name in after}}

"""A client of the protocols before RFC 6455, with websockify 0.4.1's own frames. Prints `ok`, and what a server did that must not differ between
websockify 0.4.1 and Ringway.

  peer_old.py FOLDER HOST:PORT hixie     FOLDER has websockify's websocket.py; behind the server is an echo
  peer_old.py FOLDER HOST:PORT hybi      the drafts with numbers
"""

import contextlib
import socket
import struct
import sys
from os import urandom

folder, address, protocols = sys.argv[1:]
sys.path.insert(0, folder)
sys.dont_write_bytecode = True

from websocket import WebSocketServer as Old  # noqa: E402

KEYS = {"Sec-WebSocket-Key1": "4 @1  46546xW%0l 1 5", "Sec-WebSocket-Key2": "12998 5 Y3 1  .P00", "key3": b"^n:ds[4U"}
SIZES = (1, 2, 3, 125, 126, 4096, 20_000, 100_000)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Connection:
    def __init__(self, lines, behind=b""):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        request = ["GET /path?x=y HTTP/1.1", f"Host: {address}", "Connection: Upgrade", *lines]
        self.socket.sendall("\r\n".join([*request, "", ""]).encode() + behind)
        self.bytes = b""

    def until(self, end):
        while end not in self.bytes:
            self.more()
        found, self.bytes = self.bytes.split(end, 1)
        return found + end

    def exactly(self, size):
        while len(self.bytes) < size:
            self.more()
        found, self.bytes = self.bytes[:size], self.bytes[size:]
        return found

    def more(self):
        more = self.socket.recv(1 << 16)
        if not more:
            raise SystemExit(f"the server ended behind {self.bytes[:200]!r}")
        self.bytes += more

    def head(self):
        """The status, and the fields that the protocol is about."""
        status, *fields = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        known = ("upgrade", "connection", "websocket-", "sec-websocket-")
        return status.split(" ")[1], sorted(field for field in fields if field.lower().startswith(known))


def hixie(version, offer):
    pre = "Sec-" if version == 76 else ""
    lines = ["Upgrade: WebSocket", "Origin: http://example.com"]
    lines += [f"{pre}WebSocket-Protocol: {offer}"] if offer else []
    if version == 76:
        lines += [f"{name}: {KEYS[name]}" for name in KEYS if name != "key3"]
    connection = Connection(lines, KEYS["key3"] if version == 76 else b"")
    head = connection.head()
    if version == 76:
        digest = connection.exactly(16)
        assert digest.decode("latin-1") == Old.gen_md5(KEYS) == "8jKS'y:G*Co,Wxa-", digest
    for size in SIZES:
        data, back = urandom(size), b""
        frame, _, _ = Old.encode_hixie(data)
        connection.socket.sendall(frame)
        while len(back) < size:
            back += Old.decode_hixie(connection.until(b"\xff"))["payload"]
        assert back == data, size
    if version == 76:
        connection.socket.sendall(b"\xff\x00")
        assert connection.exactly(2) == b"\xff\x00"
    return f"hixie-{version} offering {offer or 'nothing'}: {head}"


def hybi(version):
    lines = ["Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Version: {version}", "Sec-WebSocket-Protocol: base64"]
    connection = Connection([*lines, "Sec-WebSocket-Origin: http://example.com"])
    status, fields = connection.head()
    for size in SIZES:
        data, back = urandom(size), b""
        frame, length, _ = Old.encode_hybi(data, opcode=1, base64=True)
        # Its frames are a server's: a client masks them, here with zeros.
        mutable = bytearray(frame[:length])
        mutable[1] |= 0x80
        connection.socket.sendall(bytes(mutable) + struct.pack(">I", 0) + frame[length:])
        while len(back) < size:
            with contextlib.redirect_stdout(None):  # It reads a client's frames, and prints what is not masked.
                frame = Old.decode_hybi(connection.bytes, base64=True)
            if frame["payload"] is None:
                connection.more()
                continue
            connection.bytes = connection.bytes[len(connection.bytes) - frame["left"] :]
            assert frame["opcode"] == 1
            back += frame["payload"]
        assert back == data, size
    return f"version {version}: {status, fields}"


if protocols == "hixie":
    rows = [hixie(version, offer) for version in (75, 76) for offer in ("base64", "")]
else:
    rows = [hybi(version) for version in (7, 8, 13)]
print("ok " + "; ".join(rows).replace(address, "HOST"))

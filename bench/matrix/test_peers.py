"""The peers themselves: each echoes, and those that can broadcast or have workers do that. One that is not built is skipped by name."""

import dataclasses
import os
import socket
import ssl
import tempfile
import unittest
import zlib
from pathlib import Path
from shutil import which

from matrix import peers, series, tls
from matrix.contestants import CONTESTANTS, Server, StartError

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
# "Hi" with the masking key 01 02 03 04, and as a server sends it.
HI_MASKED = bytes([0x81, 0x82, 1, 2, 3, 4, ord("H") ^ 1, ord("i") ^ 2])
HI = b"\x81\x02Hi"
YO_MASKED = bytes([0x81, 0x82, 1, 2, 3, 4, ord("Y") ^ 1, ord("o") ^ 2])
YO = b"\x81\x02Yo"
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; %sclient_max_window_bits\r\n\r\n"
TIMEOUT_S = 10


class Client:
    def __init__(self, address, offer=b"\r\n", authority=None):
        ip, _, port = address.partition(":")
        self.socket = socket.create_connection((ip, int(port)), TIMEOUT_S)
        if authority:
            self.socket = ssl.create_default_context(cafile=authority).wrap_socket(self.socket, server_hostname=ip)
        self.socket.sendall(REQUEST[:-2] + offer)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.receive(1)
        assert head.startswith(b"HTTP/1.1 101") and ACCEPT in head, head
        self.head = head

    def receive(self, size):
        got = b""
        while len(got) < size:
            more = self.socket.recv(size - len(got))
            assert more, f"the server closed the connection after {got}"
            got += more
        return got


class Peers(unittest.TestCase):
    def start(self, name, *more):
        """A running peer with `more` arguments, ended with the test; skips the test when the peer is not there."""
        contestant = CONTESTANTS[name]
        return self.launch(dataclasses.replace(contestant, arguments=contestant.arguments + more))

    def launch(self, contestant):
        name = contestant.name
        binary = series.binaries()[contestant.binary]
        needed = binary
        if contestant.binary == "launch":
            needed = peers.PEERS / ("node/node_modules/ws" if name == "node-ws" else ".venv/bin/python")
        elif contestant.binary == "nginx-front":
            needed = Path(which("nginx", path="/usr/sbin:/usr/bin") or "/usr/sbin/nginx")
        if not needed.exists():
            self.skipTest(f"{name} is not there: bench/peers/install gets it")
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        server = Server(contestant, binary, min(os.sched_getaffinity(0)), None, 20, scratch.name)
        self.addCleanup(server.stop)
        return server.__enter__()

    def clients(self, server, count):
        made = [Client(server.address) for _ in range(count)]
        for client in made:
            self.addCleanup(client.socket.close)
        return made

    def test_an_echo_goes_to_its_sender_alone(self):
        for name, contestant in CONTESTANTS.items():
            if contestant.role != "peer":
                continue
            with self.subTest(name):
                first, second = self.clients(self.start(name), 2)
                for client in (second, first, second):
                    client.socket.sendall(HI_MASKED)
                    self.assertEqual(client.receive(len(HI)), HI)
                first.socket.setblocking(False)
                self.assertRaises(BlockingIOError, first.socket.recv, 1)

    def test_a_broadcast_reaches_every_open_connection(self):
        for name in ("tungstenite", "uwebsockets", "node-ws", "websockets"):
            with self.subTest(name):
                clients = self.clients(self.start(name, "--broadcast"), 3)
                # A sender that has its own message back is among the connections that get broadcasts.
                for sender in clients:
                    sender.socket.sendall(HI_MASKED)
                    self.assertEqual(sender.receive(len(HI)), HI)
                clients[1].socket.sendall(YO_MASKED)
                for client in clients:
                    while (frame := client.receive(len(HI))) == HI:
                        pass
                    self.assertEqual(frame, YO)

    def test_workers_serve_together_and_are_all_accounted(self):
        for name in ("fastwebsockets", "tungstenite", "tokio-websockets", "uwebsockets", "node-ws", "picows", "websockets", "autobahn"):
            with self.subTest(name):
                server = self.start(name, "--workers", "3")
                self.assertEqual(len(server.accounted), 3 if server.contestant.worker_is_child else 1)
                for client in self.clients(server, 12):
                    client.socket.sendall(HI_MASKED)
                    self.assertEqual(client.receive(len(HI)), HI)

    def test_an_answer_is_compressed_where_that_was_asked_for(self):
        text = b"the same words, again and again; " * 50
        for name in ("uwebsockets", "beast", "websocketpp", "node-ws", "websockets"):
            for way in ("takeover", "no-takeover"):
                with self.subTest(name, way=way):
                    address = self.start(name, "--deflate", way).address
                    client = Client(address, OFFER % (b"server_no_context_takeover; " if way == "no-takeover" else b""))
                    self.addCleanup(client.socket.close)
                    self.assertIn(b"permessage-deflate", client.head)
                    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
                    body = (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
                    self.assertLess(len(body), 126)
                    client.socket.sendall(bytes([0xC1, 0x80 | len(body), 0, 0, 0, 0]) + body)
                    first, length = client.receive(2)
                    self.assertEqual(first, 0xC1, "text, whole, compressed")
                    answer = zlib.decompressobj(-15).decompress(client.receive(length) + b"\x00\x00\xff\xff")
                    self.assertEqual(answer, text)

    def test_with_a_certificate_there_is_tls_and_an_echo(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        Path(folder.name).chmod(0o711)
        files = tls.certificate(folder.name)
        for name in tls.NAMES:
            with self.subTest(name):
                if name == "nginx" and not series.binaries()["ringway"].exists():
                    self.skipTest("the server behind nginx is not built")
                server = self.launch(tls.contestant(name, files))
                client = Client(server.address, authority=files.ca)
                self.addCleanup(client.socket.close)
                self.assertEqual(client.socket.version(), "TLSv1.3")
                client.socket.sendall(HI_MASKED)
                self.assertEqual(client.receive(len(HI)), HI)
                with self.assertRaises(ssl.SSLError):
                    Client(server.address, authority=ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")

    def test_a_certificate_that_cannot_be_used_is_told(self):
        for name in ("uwebsockets", "beast", "tungstenite"):
            with self.subTest(name), self.assertRaisesRegex(StartError, "--tls .*nothing.pem"):
                self.start(name, "--tls", "nothing.pem", "nothing.key")

    def test_an_option_that_a_peer_does_not_have_is_refused(self):
        for name in ("beast", "websocketpp", "libwebsockets", "tokio-uring"):
            with self.subTest(name), self.assertRaisesRegex(StartError, "unknown option.*--broadcast"):
                self.start(name, "--broadcast")
        for name in ("libwebsockets", "tokio-uring"):
            with self.subTest(name), self.assertRaisesRegex(StartError, "unknown option.*--deflate"):
                self.start(name, "--deflate", "takeover")
        for name in ("websocketpp", "libwebsockets", "tokio-uring", "fastwebsockets"):
            with self.subTest(name), self.assertRaisesRegex(StartError, "unknown option.*--tls"):
                self.start(name, "--tls", "a.pem", "a.key")


if __name__ == "__main__":
    unittest.main()

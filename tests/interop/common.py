"""What the Python peers of scripts/interop share: the command line, the messages, and the words in which they report.

    PEER client URI [--deflate] [--ca FILE]              everything below against an echo server; prints `ok N` or what differed
    PEER server [--deflate] [--tls CERTIFICATE KEY]      an echo; prints `listening PORT`, and at the end of stdin what it saw, as JSON

A peer is a module with `connect(uri, deflate, tls)`, an asynchronous function that returns a connection, and `serve(saw, deflate, tls)`,
which returns the port. A connection has

- send(message), receive(): `str` or `bytes`;
- fragments(parts): sends one message as several frames; ping(): sends one, returns when it is answered. None where the library has no such thing;
- close(code, reason): closes, and returns (code, reason) of the other side's close frame;
- is_compressed(): whether permessage-deflate was agreed on.
"""

import argparse
import asyncio
import collections
import json
import random
import ssl
import sys

# At most this many bytes are in a message here.
MESSAGE_BYTES_MAX = 2 << 20
# The edges of the three forms of a frame's length, and more than any receive buffer.
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 1 << 20)
CODES = (1000, 1001, 1011, 3000, 4999)
STEP_TIMEOUT_S = 20


class Saw:
    """What a server saw of its clients."""

    def __init__(self):
        self.codes = collections.Counter()
        self.compressed = self.opened = 0

    def opening(self, is_compressed):
        self.opened += 1
        self.compressed += bool(is_compressed)

    def closing(self, code):
        self.codes[str(code)] += 1


def text_of(size):
    """`size` bytes of UTF-8, of which some characters take several."""
    text = ("Grüße, 世界 🦀 and plain words; " * (size // 30 + 1)).encode()[:size].decode(errors="ignore")
    return text + "." * (size - len(text.encode()))


def messages():
    draw = random.Random(1)
    for size in SIZES:
        yield text_of(size)
        yield draw.randbytes(size)


def named(message):
    size = len(message.encode() if isinstance(message, str) else message)
    return f"{'text' if isinstance(message, str) else 'binary'} of {size} bytes"


def parts_of(message):
    """In five, one of them empty: characters of text stay whole, as the libraries want it."""
    third = len(message) // 3 + 1
    return [message[:1], message[1:third], message[:0], message[third : 2 * third], message[2 * third :]]


async def steps(connect, uri, deflate, tls):
    """Every check, as (what, whether it held or what was seen instead)."""
    connection = await connect(uri, deflate, tls)
    yield "compression", connection.is_compressed() == deflate or f"agreed: {connection.is_compressed()}"
    for message in messages():
        await connection.send(message)
        yield named(message), await connection.receive() == message or "came back changed"
    for message in messages():
        await connection.send(message)
    yield "many at once", [await connection.receive() for _ in messages()] == list(messages()) or "came back changed"
    for message in messages() if connection.fragments else ():
        await connection.fragments(parts_of(message))
        yield f"{named(message)} in fragments", await connection.receive() == message or "came back changed"
    if connection.ping:
        await connection.ping()
        yield "ping", True
    yield "close 1000", await connection.close(1000, "") == (1000, "") or "another answer"
    for code in CODES:
        connection = await connect(uri, deflate, tls)
        answer = await connection.close(code, "so long")
        # A server may answer a code with its own reason; the code must be the one that was sent.
        yield f"close {code}", answer[0] == code or f"answered {answer}"


async def client(peer, options):
    tls = ssl.create_default_context(cafile=options.ca) if options.ca else None
    checks, held, differences = steps(peer.connect, options.uri, options.deflate, tls), 0, []
    while True:
        try:
            what, result = await asyncio.wait_for(anext(checks), STEP_TIMEOUT_S)
        except StopAsyncIteration:
            break
        except Exception as error:  # noqa: BLE001 each library has its own
            differences.append(f"after {held} checks: {type(error).__name__}: {error}")
            break
        held += result is True
        differences += [] if result is True else [f"{what}: {result}"]
    print("; ".join(differences) or f"ok {held}")
    return 1 if differences else 0


async def server(peer, options):
    tls = None
    if options.tls:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*options.tls)
    saw = Saw()
    held = await peer.serve(saw, options.deflate, tls)
    print(f"listening {held[0]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"opened": saw.opened, "compressed": saw.compressed, "codes": saw.codes}), flush=True)
    return 0


def main(peer):
    parser = argparse.ArgumentParser(description=peer.__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    as_client, as_server = roles.add_parser("client"), roles.add_parser("server")
    as_client.add_argument("uri")
    as_client.add_argument("--ca")
    as_server.add_argument("--tls", nargs=2)
    for role in (as_client, as_server):
        role.add_argument("--deflate", action="store_true")
    options = parser.parse_args()
    sys.exit(asyncio.run(client(peer, options) if options.role == "client" else server(peer, options)))

"""Autobahn|Python on asyncio, in both roles."""

import asyncio
import sys

from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol, WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)

import common

LIMITS = {"maxFramePayloadSize": common.MESSAGE_BYTES_MAX, "maxMessagePayloadSize": common.MESSAGE_BYTES_MAX}


class Client(WebSocketClientProtocol):
    def __init__(self):
        super().__init__()
        self.opened = asyncio.get_running_loop().create_future()
        self.inbox, self.pongs = asyncio.Queue(), asyncio.Queue()

    def onOpen(self):
        self.opened.set_result(None)

    def onMessage(self, payload, isBinary):
        self.inbox.put_nowait(bytes(payload) if isBinary else payload.decode())

    def onPong(self, payload):
        self.pongs.put_nowait(payload)

    def onClose(self, wasClean, code, reason):
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(reason))
        # What the other side's close frame had, not what the library makes of it.
        self.inbox.put_nowait((self.remoteCloseCode, self.remoteCloseReason or ""))


class Connection:
    def __init__(self, protocol):
        self.protocol = protocol
        self.receive = protocol.inbox.get

    async def send(self, message):
        is_text = isinstance(message, str)
        self.protocol.sendMessage(message.encode() if is_text else message, isBinary=not is_text)

    async def fragments(self, parts):
        is_text = isinstance(parts[0], str)
        self.protocol.beginMessage(isBinary=not is_text)
        for part in parts:
            self.protocol.sendMessageFrame(part.encode() if is_text else part)
        self.protocol.endMessage()

    async def ping(self):
        self.protocol.sendPing(b"still there")
        if await self.protocol.pongs.get() != b"still there":
            raise ValueError("another answer to a ping")

    async def close(self, code, reason):
        # The library lets a program send 1000 and codes from 3000 on; the frame of others is written by its own function.
        if code == 1000 or code >= 3000:
            self.protocol.sendClose(code, reason or None)
        else:
            self.protocol.sendCloseFrame(code=code, reasonUtf8=reason.encode())
        return await self.receive()

    def is_compressed(self):
        return self.protocol.websocket_extensions_in_use != []


async def connect(uri, deflate, tls):
    factory = WebSocketClientFactory(uri)
    factory.protocol = Client
    factory.setProtocolOptions(**LIMITS)
    if deflate:
        factory.setProtocolOptions(
            perMessageCompressionOffers=[PerMessageDeflateOffer()], perMessageCompressionAccept=take
        )
    host, port = factory.host, factory.port
    _, protocol = await asyncio.get_running_loop().create_connection(factory, host, port, ssl=tls)
    await protocol.opened
    return Connection(protocol)


def take(response):
    return PerMessageDeflateResponseAccept(response) if isinstance(response, PerMessageDeflateResponse) else None


async def serve(saw, deflate, tls):
    class Echo(WebSocketServerProtocol):
        def onOpen(self):
            saw.opening(self.websocket_extensions_in_use)

        def onMessage(self, payload, isBinary):
            # Some answers in several frames.
            self.sendMessage(payload, isBinary, fragmentSize=50_000 if len(payload) > 100_000 else None)

        def onClose(self, wasClean, code, reason):
            saw.closing(self.remoteCloseCode)

    factory = WebSocketServerFactory()
    factory.protocol = Echo
    factory.setProtocolOptions(**LIMITS)
    if deflate:
        factory.setProtocolOptions(perMessageCompressionAccept=accept)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, ssl=tls)
    return server.sockets[0].getsockname()[1], server


def accept(offers):
    return next((PerMessageDeflateOfferAccept(offer) for offer in offers if isinstance(offer, PerMessageDeflateOffer)), None)


if __name__ == "__main__":
    common.main(sys.modules[__name__])

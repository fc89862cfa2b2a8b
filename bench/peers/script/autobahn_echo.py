"""Autobahn|Python, the echo of its example echo_multicore: worker processes that share one listening socket. On asyncio with uvloop
instead of Twisted; its NVX (masking and UTF-8 in C) is on where the wheel brings it. No statistics, no compression.
"""

import asyncio

from autobahn.asyncio.websocket import WebSocketServerFactory, WebSocketServerProtocol

import worker


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


async def start(listener, _):
    factory = WebSocketServerFactory()
    factory.protocol = Echo
    factory.setProtocolOptions(
        maxFramePayloadSize=worker.MESSAGE_BYTES_MAX,
        maxMessagePayloadSize=worker.MESSAGE_BYTES_MAX,
        tcpNoDelay=True,
    )
    return await asyncio.get_running_loop().create_server(factory, sock=listener, backlog=worker.BACKLOG)


if __name__ == "__main__":
    worker.run(start)

"""Python websockets, in both roles."""

import sys

from websockets.asyncio.client import connect as open_connection
from websockets.asyncio.server import serve as open_server
from websockets.exceptions import ConnectionClosed

import common


class Connection:
    def __init__(self, websocket):
        self.websocket = websocket
        self.send, self.fragments = websocket.send, websocket.send

    async def receive(self):
        return await self.websocket.recv()

    async def ping(self):
        await (await self.websocket.ping(b"still there"))

    async def close(self, code, reason):
        await self.websocket.close(code, reason)
        received = self.websocket.protocol.close_rcvd
        return (received.code, received.reason) if received else (None, None)

    def is_compressed(self):
        return bool(self.websocket.protocol.extensions)


def compression(deflate):
    return "deflate" if deflate else None


async def connect(uri, deflate, tls):
    return Connection(await open_connection(uri, ssl=tls, compression=compression(deflate), max_size=common.MESSAGE_BYTES_MAX, proxy=None))


async def serve(saw, deflate, tls):
    async def echo(websocket):
        saw.opening(websocket.protocol.extensions)
        try:
            async for message in websocket:
                # Some answers in several frames.
                await websocket.send(common.parts_of(message) if len(message) > 1000 else message)
        except ConnectionClosed:
            pass
        await websocket.wait_closed()
        saw.closing(websocket.protocol.close_rcvd.code if websocket.protocol.close_rcvd else None)

    server = await open_server(echo, "127.0.0.1", 0, ssl=tls, compression=compression(deflate), max_size=common.MESSAGE_BYTES_MAX)
    return server.sockets[0].getsockname()[1], server


if __name__ == "__main__":
    common.main(sys.modules[__name__])

"""aiohttp, in both roles. It has no way to send a message in fragments; close codes are what it tells of the other side's."""

import asyncio
import sys

import aiohttp
from aiohttp import web

import common


class Connection:
    fragments = None

    def __init__(self, session, websocket):
        self.session, self.websocket = session, websocket

    async def send(self, message):
        await (self.websocket.send_str if isinstance(message, str) else self.websocket.send_bytes)(message)

    async def receive(self):
        return (await self.websocket.receive()).data

    async def ping(self):
        await self.websocket.ping(b"still there")
        answer = await self.websocket.receive()
        if (answer.type, bytes(answer.data)) != (aiohttp.WSMsgType.PONG, b"still there"):
            raise ValueError(f"{answer} is no answer to a ping")

    async def close(self, code, reason):
        await self.websocket.close(code=code, message=reason.encode())
        await self.session.close()
        return self.websocket.close_code, None if reason else ""

    def is_compressed(self):
        return bool(self.websocket.compress)


async def connect(uri, deflate, tls):
    session = aiohttp.ClientSession()
    options = {"compress": 15 if deflate else 0, "max_msg_size": common.MESSAGE_BYTES_MAX, "autoping": False}
    return Connection(session, await session.ws_connect(uri, ssl=tls or True, **options))


async def serve(saw, deflate, tls):
    async def echo(request):
        websocket = web.WebSocketResponse(compress=deflate, max_msg_size=common.MESSAGE_BYTES_MAX)
        await websocket.prepare(request)
        saw.opening(websocket.compress)
        async for message in websocket:
            await (websocket.send_str if message.type is aiohttp.WSMsgType.TEXT else websocket.send_bytes)(message.data)
        saw.closing(websocket.close_code)
        return websocket

    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    await asyncio.sleep(0)
    return runner.addresses[0][1], runner


if __name__ == "__main__":
    common.main(sys.modules[__name__])

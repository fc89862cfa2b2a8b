"""A shell over text messages of base64, with Autobahn as the client. Prints `ok`."""

import asyncio
import base64
import sys

from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol
from telnet import Shell

url = sys.argv[1]
done = asyncio.Event()


class Client(WebSocketClientProtocol):
    def onConnect(self, response):
        assert response.protocol == "base64", response.protocol
        self.shell = Shell()

    def onMessage(self, payload, isBinary):
        assert not isBinary
        answer = self.shell.feed(base64.b64decode(payload, validate=True))
        if answer:
            self.sendMessage(base64.b64encode(answer))
        if self.shell.has_answered:
            done.set()


async def main():
    factory = WebSocketClientFactory(url, protocols=["base64"])
    factory.protocol = Client
    host, port = url.split("/")[2].split(":")
    await asyncio.get_running_loop().create_connection(factory, host, int(port))
    await asyncio.wait_for(done.wait(), 30)
    print("ok a shell answers")


asyncio.run(main())

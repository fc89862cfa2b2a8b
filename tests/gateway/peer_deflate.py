"""A stream over compressed messages, with Autobahn's wrapping client before an echo. Prints `ok`."""

import os
import sys

from autobahn.twisted.websocket import WrappingWebSocketClientFactory, connectWS
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

url, size = sys.argv[1], int(sys.argv[2])
# Half of it is worth compressing.
data = b"".join(bytes(512) + os.urandom(512) for _ in range(size // 1024))
said = ["nothing came back in time"]


def end(why):
    said[0] = why
    reactor.stop()


class Stream(Protocol):
    """Sends a piece when the one before is back: Autobahn has no flow control."""

    def connectionMade(self):
        # `transport` is the WebSocket.
        self.extension = type(self.transport._perMessageCompress).__name__
        self.back, self.sent = bytearray(), 0
        self.send()

    def send(self):
        piece = data[self.sent : self.sent + (1 << 16)]
        self.sent += len(piece)
        self.transport.write(piece)

    def dataReceived(self, more):
        self.back += more
        if len(self.back) < self.sent:
            return
        if bytes(self.back) != data[: self.sent]:
            end("other bytes came back")
        elif self.extension != "PerMessageDeflate":
            end(f"agreed to {self.extension}")
        elif self.sent < len(data):
            self.send()
        else:
            end(f"ok {len(data):,} bytes there and back, compressed")


factory = WrappingWebSocketClientFactory(Factory.forProtocol(Stream), url)
factory.setProtocolOptions(openHandshakeTimeout=20)
connectWS(factory)
reactor.callLater(60, reactor.stop)
reactor.run()
print(said[0])

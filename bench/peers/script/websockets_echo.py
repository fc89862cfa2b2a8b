"""The library `websockets` with its asyncio server on uvloop: compression off unless asked for, keepalive off, its C speedups on (they are in the wheel).

Text is decoded, which validates it, and encoded again: that is its interface. It writes once per message. --broadcast uses its own
`broadcast`, which frames a message once for all connections. --deflate: permessage-deflate with its defaults: window 12, memory level 5.
"""

import contextlib

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

import worker


async def echo(connection):
    # The driver ends every run by resetting its connections, so errors are not logged.
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def relay(connection):
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            broadcast(connection.server.connections, message)


def extensions(deflate):
    if deflate == "off":
        return None
    # What its `compression="deflate"` makes, and for no-takeover one word more.
    return [
        ServerPerMessageDeflateFactory(
            server_no_context_takeover=deflate == "no-takeover",
            server_max_window_bits=12,
            client_max_window_bits=12,
            compress_settings={"memLevel": 5},
        )
    ]


async def start(listener, options):
    return await serve(
        relay if options.broadcast else echo,
        sock=listener,
        backlog=worker.BACKLOG,
        compression=None,
        extensions=extensions(options.deflate),
        max_size=worker.MESSAGE_BYTES_MAX,
        ping_interval=None,
    )


if __name__ == "__main__":
    worker.run(start, can_broadcast=True, can_deflate=True)

"""The library `websockets` with its asyncio server on uvloop: compression off, keepalive off, its C speedups on (they are in the wheel).

Text is decoded, which validates it, and encoded again: that is its interface. It writes once per message. --broadcast uses its own
`broadcast`, which frames a message once for all connections.
"""

import contextlib

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

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


async def start(listener, to_all):
    return await serve(
        relay if to_all else echo,
        sock=listener,
        backlog=worker.BACKLOG,
        compression=None,
        max_size=worker.MESSAGE_BYTES_MAX,
        ping_interval=None,
    )


if __name__ == "__main__":
    worker.run(start, can_broadcast=True)

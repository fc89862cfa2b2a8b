"""What the Python peers share: the inherited listener, uvloop, and the word that they accept."""

import argparse
import asyncio
import signal
import socket

import uvloop

# Largest message that the peers accept.
MESSAGE_BYTES_MAX = 100 << 20
# asyncio calls listen again, with a backlog of 100 unless told otherwise.
BACKLOG = 8192


def run(serve, can_broadcast=False, can_deflate=False):
    """Runs the coroutine function `serve(listener, options)`, which returns when it accepts, until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    if can_broadcast:
        parser.add_argument("--broadcast", action="store_true")
    if can_deflate:
        parser.add_argument("--deflate", choices=("off", "takeover", "no-takeover"), default="off")
    options = parser.parse_args()

    async def main():
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        listener = socket.socket(fileno=options.fd)
        listener.setblocking(False)
        # A reference is kept, because an unreferenced server may be garbage-collected.
        server = await serve(listener, options)
        print("ready", flush=True)
        await stop.wait()
        del server

    uvloop.run(main())

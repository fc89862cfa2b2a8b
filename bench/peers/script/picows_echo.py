"""picows on uvloop, as its own echo server: a callback per frame, the payload sent from a view of the receive buffer. It hands out frames
(fragments come back as fragments) and does not validate UTF-8.
"""

from picows import WSListener, WSMsgType, ws_create_server

import worker


class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif frame.msg_type != WSMsgType.PONG:
            # picows answers Pings itself, so they do not come here.
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin)


async def start(listener, _):
    return await ws_create_server(
        lambda request: Echo(), sock=listener, backlog=worker.BACKLOG, max_frame_size=worker.MESSAGE_BYTES_MAX
    )


if __name__ == "__main__":
    worker.run(start)

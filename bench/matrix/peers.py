"""Where the programs of the contestants are, as bench/peers/build.sh and Cargo leave them."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PEERS = REPOSITORY / "bench/peers"
RUST_PEERS = ("fastwebsockets", "tungstenite", "tokio-websockets", "tokio-uring", "bare-epoll")
NATIVE_PEERS = ("uwebsockets", "beast", "websocketpp", "libwebsockets")


def release_of(package):
    target = os.environ.get("CARGO_TARGET_DIR")
    return (Path(target) if target else package / "target") / "release"


def binaries():
    """{key of a contestant's `binary`: path}, whether it is there or not; Ringway and the driver are not peers."""
    return {
        "launch": PEERS / "script/launch",
        "nginx-front": PEERS / "script/nginx_front",
        **{name: release_of(PEERS) / f"{name}-echo" for name in RUST_PEERS},
        **{name: PEERS / f"native/build/{name}-echo" for name in NATIVE_PEERS},
    }

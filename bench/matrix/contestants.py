"""The servers under measurement: how each is started, pinned, recognised as ready, accounted, and ended.

Every process ended here was started here; it is ended by its pid, and only while that pid is still the same process.
"""

import os
import re
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from matrix.peers import REPOSITORY

READY_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
TAIL_BYTES = 2000


@dataclass(frozen=True)
class Contestant:
    """One server: `arguments` may use {server_cpu} and {read_buffer}; `binary` is a key of the table of binaries."""

    name: str
    mode: str  # "ws", or "tcp" for a floor that echoes the same request bytes
    binary: str
    arguments: tuple
    ready: str = r"listening (?P<ip>[0-9.]+):(?P<port>[0-9]+)"
    # Worker processes serve, and are accounted together. The process that was started only watches over them.
    worker_is_child: bool = False
    role: str = "peer"  # "ours", "peer" or "floor"
    # Least seconds of load before the window, for a just-in-time compiler.
    warm_up_min: float = 0.0


def _ringway(tier):
    return Contestant(
        name=f"ringway-{tier}",
        mode="ws",
        binary="ringway",
        # --silence would hide the ready line. A long interval keeps the reports out of the window instead.
        arguments=("--wsuri", "ws://127.0.0.1:0", "--port", "0", "--workers", "1", "--io", tier, "--interval", "60s"),
        ready=r"listening on ws://(?P<ip>[0-9.]+):(?P<port>[0-9]+)",
        worker_is_child=True,
        role="ours",
    )


def _scripted(name, script, warm_up_min=0.0):
    """A peer that runs in an interpreter: its launcher makes the listener, which worker processes inherit."""
    return Contestant(name, "ws", "launch", (script, "--port", "0"), worker_is_child=True, warm_up_min=warm_up_min)


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        _ringway("uring"),
        _ringway("epoll"),
        Contestant("fastwebsockets", "ws", "fastwebsockets", ("--port", "0")),
        Contestant("tungstenite", "ws", "tungstenite", ("--port", "0", "--read-buffer", "{read_buffer}")),
        Contestant("tokio-websockets", "ws", "tokio-websockets", ("--port", "0")),
        Contestant("tokio-uring", "ws", "tokio-uring", ("--port", "0")),
        Contestant("uwebsockets", "ws", "uwebsockets", ("--port", "0")),
        Contestant("beast", "ws", "beast", ("--port", "0")),
        Contestant("websocketpp", "ws", "websocketpp", ("--port", "0")),
        Contestant("libwebsockets", "ws", "libwebsockets", ("--port", "0")),
        _scripted("node-ws", "ws", warm_up_min=1.0),
        _scripted("picows", "picows"),
        _scripted("websockets", "websockets"),
        _scripted("autobahn", "autobahn"),
        Contestant("bare-ring", "tcp", "bare-ring", ("--port", "0", "--cpuid", "{server_cpu}"), role="floor"),
        Contestant("bare-epoll", "tcp", "bare-epoll", ("--port", "0"), role="floor"),
    )
}


def read_buffer(size):
    """tungstenite clears its read buffer before each read: what its user would set, knowing the size of his messages."""
    return 16 << 10 if size < 64 << 10 else 128 << 10


class StartError(Exception):
    """The server did not come up; the message says what it printed."""


def process_start(pid):
    """Start time of `pid` in ticks: together with the pid it names one process. None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def children(pid):
    """Pids of the children of all threads of `pid`."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            pass
    return found


class Server:
    """A running contestant. Use as a context manager: it is ended however the block is left."""

    def __init__(self, contestant, binary, cpu, congestion, size, scratch):
        self.contestant = contestant
        self.cpu = cpu
        arguments = [argument.format(server_cpu=cpu, read_buffer=read_buffer(size)) for argument in contestant.arguments]
        if congestion:
            arguments += ["--congestion", congestion]
        self.command = [str(binary), *arguments]
        self.output_path = Path(scratch) / f"{contestant.name}.out"
        self.process = None
        self.workers = {}  # pid -> start time
        self.address = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def accounted(self):
        """Pids whose CPU time is the server's."""
        return sorted(self.workers) if self.contestant.worker_is_child else [self.process.pid]

    @property
    def watched(self):
        """Pids reported apart: a supervisor, which no client byte passes through."""
        return [self.process.pid] if self.contestant.worker_is_child else []

    def _prepare_child(self):
        os.sched_setaffinity(0, {self.cpu})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def _start(self):
        with open(self.output_path, "wb") as output:
            try:
                self.process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    preexec_fn=self._prepare_child,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartError(f"cannot be started: {error.strerror}") from error
        deadline = time.monotonic() + READY_TIMEOUT_S
        pattern = re.compile(self.contestant.ready)
        while True:
            match = pattern.search(self.output())
            if match and (self._find_workers() or not self.contestant.worker_is_child):
                self.address = f"{match['ip']}:{match['port']}"
                return
            if self.process.poll() is not None:
                raise StartError(f"exited with {self.process.returncode} before it was ready: {self.tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"not ready within {READY_TIMEOUT_S:.0f} s: {self.tail()}")
            time.sleep(0.01)

    def _find_workers(self):
        self.workers = {pid: process_start(pid) for pid in children(self.process.pid)}
        return self.workers

    def output(self):
        return self.output_path.read_text(errors="replace")

    def tail(self):
        """The end of what the server printed, on one line, without what only this machine calls so: it goes into results."""
        text = self.output().replace(str(REPOSITORY), ".").replace(str(Path.home()), "~")
        return " | ".join(text[-TAIL_BYTES:].split("\n")).strip(" |") or "it printed nothing"

    def stop(self):
        """SIGTERM, then SIGKILL, to the process and what is left of its workers."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid, start in self.workers.items():
            if start is not None and process_start(pid) == start:
                os.kill(pid, signal.SIGKILL)
        self.process = None

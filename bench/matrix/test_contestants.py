"""Starting, recognising and ending servers, with small programs in their place."""

import os
import stat
import sys
import tempfile
import time
import unittest
from pathlib import Path

from matrix import contestants
from matrix.contestants import CONTESTANTS, Server, StartError, process_start

# A supervisor with one worker, like Ringway. STUBBORN ignores SIGTERM and would leave its worker running.
SUPERVISOR = """#!{python}
import os, signal, sys, time
if {stubborn}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = os.fork()
if worker == 0:
    time.sleep(60)
    os._exit(0)
print(f"ringway: listening on ws://127.0.0.1:4711 (backlog 8192), 1 worker, io uring, pid {{os.getpid()}}", flush=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN if {stubborn} else lambda *_: (os.kill(worker, 15), sys.exit(0)))
time.sleep(60)
"""


class Servers(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.cpu = min(os.sched_getaffinity(0))

    def program(self, text):
        path = Path(self.scratch.name) / "program"
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def server(self, name, program):
        return Server(CONTESTANTS[name], program, self.cpu, None, 20, self.scratch.name)

    def supervisor(self, stubborn):
        return self.program(SUPERVISOR.format(python=sys.executable, stubborn=stubborn))

    def test_the_worker_is_accounted_and_the_supervisor_watched(self):
        with self.server("ringway-uring", self.supervisor(False)) as server:
            self.assertEqual(server.address, "127.0.0.1:4711")
            self.assertEqual(server.watched, [server.process.pid])
            self.assertEqual(len(server.accounted), 1)
            self.assertNotEqual(server.accounted, server.watched)
            worker = server.accounted[0]
            self.assertEqual(os.sched_getaffinity(worker), {self.cpu})
            self.assertEqual(server.command[-4:], ["--io", "uring", "--interval", "60s"])
        self.assert_gone(worker)

    def test_a_stubborn_supervisor_and_its_worker_are_ended(self):
        contestants.STOP_TIMEOUT_S, before = 0.2, contestants.STOP_TIMEOUT_S
        self.addCleanup(setattr, contestants, "STOP_TIMEOUT_S", before)
        with self.server("ringway-epoll", self.supervisor(True)) as server:
            supervisor, worker = server.process.pid, server.accounted[0]
        self.assert_gone(supervisor)
        self.assert_gone(worker)

    def test_a_server_that_exits_is_reported_with_its_words(self):
        program = self.program("#!/bin/sh\necho port in use >&2\nexit 3\n")
        with self.assertRaisesRegex(StartError, "exited with 3 before it was ready: port in use"):
            self.server("tungstenite", program).__enter__()

    def test_what_a_server_printed_is_told_without_the_paths_of_this_machine(self):
        program = self.program(f"#!/bin/sh\necho cannot open {contestants.REPOSITORY}/bench/x and {Path.home()}/y\nexit 1\n")
        with self.assertRaisesRegex(StartError, r"cannot open \./bench/x and ~/y$"):
            self.server("beast", program).__enter__()

    def test_a_missing_program_is_reported(self):
        with self.assertRaisesRegex(StartError, "No such file"):
            self.server("bare-ring", Path(self.scratch.name) / "nothing").__enter__()

    def test_tungstenite_gets_the_read_buffer_of_the_size(self):
        self.assertEqual(contestants.read_buffer(16384), 16384)
        self.assertEqual(contestants.read_buffer(102400), 131072)

    def assert_gone(self, pid):
        deadline = time.monotonic() + 5
        while process_start(pid) is not None:
            self.assertLess(time.monotonic(), deadline, f"process {pid} is still there")
            time.sleep(0.01)


if __name__ == "__main__":
    unittest.main()

"""The call of the driver, with a small program in its place."""

import dataclasses
import stat
import tempfile
import types
import unittest
from pathlib import Path

from matrix import driver

LOAD = driver.Load(20, 3, 1, 0.5, 0.1, "text", "sleep", 1, "cubic", "replay")


def server(accounted, watched):
    return types.SimpleNamespace(
        address="127.0.0.1:4711", accounted=accounted, watched=watched, contestant=types.SimpleNamespace(mode="ws")
    )


class Driver(unittest.TestCase):
    def drive(self, body):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "driver")
            program.write_text("#!/bin/sh\n" + body)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            return driver.drive({"driver": program}, server([5, 6], [4]), LOAD)

    def test_all_workers_are_accounted_and_the_supervisor_is_watched(self):
        command = driver.command_of({"driver": "echo-driver"}, server([5, 6], [4]), LOAD, [4])
        self.assertEqual(command[:3], ["echo-driver", "--address", "127.0.0.1:4711"])
        self.assertEqual(command[-8:], ["--congestion", "cubic", "--pid", "5", "--pid", "6", "--watch", "4"])

    def test_a_websocket_server_is_driven_by_wsperf_and_a_bare_echo_by_the_replay(self):
        load = dataclasses.replace(LOAD, driver="wsperf")
        command = driver.command_of({"wsperf": "ringway"}, server([5], [4]), load, [4])
        self.assertEqual(command[:4], ["ringway", "wsperf", "echo", "ws://127.0.0.1:4711/"])
        self.assertIn("--server-pid=5", command)
        bare = server([5], [])
        bare.contestant.mode = "tcp"
        self.assertEqual(driver.command_of({"driver": "echo-driver"}, bare, load, [])[0], "echo-driver")

    def test_tls_and_handshakes_are_asked_of_wsperf(self):
        load = dataclasses.replace(LOAD, driver="wsperf", cacert=Path("ca.pem"))
        command = driver.command_of({"wsperf": "ringway"}, server([5], []), load, [])
        self.assertEqual(command[3], "wss://127.0.0.1:4711/")
        self.assertIn("--cacert=ca.pem", command)
        load = dataclasses.replace(load, handshakes=8, resume=True)
        command = driver.command_of({"wsperf": "ringway"}, server([5], []), load, [])
        self.assertEqual(command[2], "handshake")
        self.assertLess({"--high=8", "--low=7", "--tls-resume"}, set(command))
        self.assertFalse([part for part in command if part.startswith(("--size", "--connections", "--in-flight"))])

    def test_processes_of_one_server_that_share_a_cpu_do_not_disturb_each_other(self):
        front, behind = {"utilisation": 0.6, "waiting": 0.35}, {"utilisation": 0.35, "waiting": 0.6}
        self.assertEqual(driver.waiting_of([front, behind]), 0)
        self.assertAlmostEqual(driver.waiting_of([{**front, "waiting": 0.45}, behind]), 0.1)
        self.assertAlmostEqual(driver.waiting_of([front]), 0.35)
        self.assertEqual(driver.waiting_of([]), 0)

    def test_faults_that_wsperf_counts_are_an_error(self):
        process = {"utilisation": 0.5, "waiting": 0.01, "resident_bytes": 2048, "context_switches": 7}
        thread = {"utilisation": 0.4, "waiting": 0.02, "enters": 10}
        result = {
            "duration_s": 1.0, "messages": 100, "messages_per_second": 100.0, "latency_us": {}, "errors": 0, "notes": [],
            "server_cpu_us_per_message": 5.0, "server_saturated": False, "server": {"processes": [process, process]},
            "driver_saturated": True, "driver_cpu_us_per_message": 4.0, "driver_user_us_per_message": 0.1, "driver": [thread],
        }
        report = driver.wsperf_report(result, LOAD)
        self.assertEqual((report["server_utilisation"], report["server_resident_kib"], report["driver_messages_per_turn"]), (1.0, 4, 10.0))
        self.assertNotIn("error", report)
        report = driver.wsperf_report({**result, "errors": 2, "notes": ["one changed"]}, LOAD)
        self.assertEqual(report["error"], "2 faults: one changed")

    def test_what_is_watched_gets_its_name(self):
        report, error = self.drive("""echo '{"messages": 7, "watched_4_utilisation": 0.5}'""")
        self.assertIsNone(error)
        self.assertEqual((report["messages"], report["supervisor_utilisation"]), (7, 0.5))
        self.assertIn("stolen_ticks", report)

    def test_a_report_of_a_fault_is_an_error(self):
        report, error = self.drive("""echo '{"messages": 0, "error": "byte 3 differs"}'; exit 1""")
        self.assertEqual((report["messages"], error), (0, "byte 3 differs"))

    def test_a_window_without_a_message_is_an_error_and_not_a_cost_of_zero(self):
        report, error = self.drive("""echo '{"messages": 0, "server_cpu_us_per_message": 0}'""")
        self.assertEqual((report["messages"], error), (0, "no message came back within the window of 0.5 s"))

    def test_a_driver_that_says_nothing_is_an_error(self):
        self.assertEqual(self.drive("echo bad usage >&2; exit 2"), (None, "the driver failed: bad usage"))


if __name__ == "__main__":
    unittest.main()

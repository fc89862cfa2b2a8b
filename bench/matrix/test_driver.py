"""The call of the driver, with a small program in its place."""

import stat
import tempfile
import types
import unittest
from pathlib import Path

from matrix import driver

LOAD = driver.Load(20, 3, 1, 0.5, 0.1, "text", "sleep", 1, "cubic")


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
            return driver.drive(program, server([5, 6], [4]), LOAD)

    def test_all_workers_are_accounted_and_the_supervisor_is_watched(self):
        command = driver.command_of("echo-driver", server([5, 6], [4]), LOAD, [4])
        self.assertEqual(command[:3], ["echo-driver", "--address", "127.0.0.1:4711"])
        self.assertEqual(command[-8:], ["--congestion", "cubic", "--pid", "5", "--pid", "6", "--watch", "4"])

    def test_what_is_watched_gets_its_name(self):
        report, error = self.drive("""echo '{"messages": 7, "watched_4_utilisation": 0.5}'""")
        self.assertIsNone(error)
        self.assertEqual((report["messages"], report["supervisor_utilisation"]), (7, 0.5))
        self.assertIn("stolen_ticks", report)

    def test_a_report_of_a_fault_is_an_error(self):
        report, error = self.drive("""echo '{"messages": 0, "error": "octet 3 differs"}'; exit 1""")
        self.assertEqual((report["messages"], error), (0, "octet 3 differs"))

    def test_a_window_without_a_message_is_an_error_and_not_a_cost_of_zero(self):
        report, error = self.drive("""echo '{"messages": 0, "server_cpu_us_per_message": 0}'""")
        self.assertEqual((report["messages"], error), (0, "no message came back within the window of 0.5 s"))

    def test_a_driver_that_says_nothing_is_an_error(self):
        self.assertEqual(self.drive("echo bad usage >&2; exit 2"), (None, "the driver failed: bad usage"))


if __name__ == "__main__":
    unittest.main()

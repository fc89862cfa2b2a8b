"""What the plots say, and that they can be drawn where matplotlib is."""

import json
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

from matrix import peers, plots


def spread(median):
    return {"median": median, "min": median * 0.9, "max": median * 1.2, "n": 5}


def server(cost, saturated=True, disturbed=0):
    return {
        "cpu_us_per_message": spread(cost),
        "messages_per_s": spread(1e6 / cost),
        "runs": 5,
        "runs_server_saturated": 5 if saturated else 1,
        "runs_disturbed": disturbed,
    }


def cell(**costs):
    servers = {name.replace("_", "-"): server(cost) for name, cost in costs.items()}
    return {"size": 102400, "connections": 1, "in_flight": 16, "servers": servers}


class Plots(unittest.TestCase):
    def test_the_cheapest_comes_first_and_a_peer_below_ringway_is_marked(self):
        rows = plots.rows_of(cell(ringway_uring=2.0, ringway_epoll=1.9, beast=3.0, uwebsockets=1.5, bare_ring=1.0))
        self.assertEqual(
            [(row.name, row.kind) for row in rows],
            [("bare-ring", "floor"), ("uwebsockets", "cheaper"), ("ringway-epoll", "ours too"), ("ringway-uring", "ours"), ("beast", "dearer")],
        )

    def test_a_loss_is_said(self):
        rows = plots.rows_of(cell(ringway_uring=2.0, ringway_epoll=1.9, beast=3.0, uwebsockets=1.6))
        self.assertEqual(
            plots.verdict_of(rows), "Ringway on io_uring costs 1.25 of the cheapest peer, uwebsockets, and loses to uwebsockets and ringway-epoll."
        )

    def test_a_win_is_not_dressed_up(self):
        self.assertEqual(
            plots.verdict_of(plots.rows_of(cell(ringway_uring=2.0, beast=3.2))), "Ringway on io_uring costs 0.62 of the cheapest peer, beast."
        )

    def test_without_ringway_or_peers_there_is_no_verdict(self):
        self.assertEqual(plots.verdict_of(plots.rows_of(cell(beast=1.0))), "")
        self.assertEqual(plots.verdict_of(plots.rows_of(cell(ringway_uring=1.0, bare_ring=0.9))), "")

    def test_far_apart_bars_are_logarithmic(self):
        self.assertTrue(plots.is_logarithmic(plots.rows_of(cell(ringway_uring=1.0, autobahn=9.0)), "cost"))
        self.assertFalse(plots.is_logarithmic(plots.rows_of(cell(ringway_uring=1.0, autobahn=7.0)), "cost"))

    def test_unsaturated_and_disturbed_runs_are_marked(self):
        one = cell(ringway_uring=1.0)
        one["servers"]["beast"] = server(2.0, saturated=False, disturbed=2)
        row = plots.rows_of(one)[1]
        self.assertEqual((row.saturated, row.remark), (False, "disturbed 2/5"))

    def test_the_files_are_svg_and_the_same_every_time(self):
        python = peers.PEERS / ".venv/bin/python"
        if not python.exists() or subprocess.run([python, "-c", "import matplotlib"], capture_output=True).returncode:
            self.skipTest("matplotlib is missing: bench/peers/install plots")
        one = cell(ringway_uring=1.0, ringway_epoll=1.1, beast=20.0, uwebsockets=0.9, bare_ring=0.8)
        one["servers"]["websocketpp"] = server(2.0, saturated=False, disturbed=2)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "summary.json").write_text(json.dumps({"cells": [one]}))
            Path(folder, "plan.json").write_text(json.dumps({"host": "vm0"}))
            drawn = []
            for _ in range(2):
                subprocess.run([python, "-m", "matrix.plots", folder], check=True, capture_output=True, cwd=peers.PEERS.parent)
                files = sorted(Path(folder, "plots").iterdir())
                self.assertEqual([file.name for file in files], ["102400x1x16.svg", "overview.svg"])
                drawn.append([file.read_text() for file in files])
            self.assertEqual(*drawn)
            xml.etree.ElementTree.fromstring(drawn[0][0])
            for text in ("websocketpp", "disturbed 2/5", "and loses to uwebsockets", "100 KiB, 1 connection, 16 in flight"):
                self.assertIn(text, drawn[0][0])


if __name__ == "__main__":
    unittest.main()

"""python3 -m unittest discover -s bench -t bench"""

import unittest

from matrix import summary


def record(server, round_, cost, size=20, in_flight=1, saturated=True, waiting=0.0, errors=0):
    driver = {
        "server_cpu_us_per_message": cost,
        "messages_per_s": 1e6 / cost,
        "server_utilisation": 0.99 if saturated else 0.4,
        "driver_utilisation": 0.8,
        "driver_cpu_us_per_message": 1.0,
        "server_resident_kib": 1000,
        "server_saturated": saturated,
        "driver_saturated": False,
        "server_waiting": waiting,
        "driver_waiting": 0.0,
        "errors": errors,
    }
    cell = {"size": size, "connections": 100, "in_flight": in_flight}
    return {**cell, "server": server, "round": round_, "driver": driver, "error": "bad" if errors else None}


def only_cell(records):
    (cell,) = summary.summarise(records)["cells"]
    return cell


class Summary(unittest.TestCase):
    def test_ratios_are_paired_before_the_median(self):
        # The machine is three times slower in round 2: the ratio of medians would be 0.9, the pairs say 0.9 or 1.2.
        ours = [(0, 0.9), (1, 1.2), (2, 3.6)]
        theirs = [(0, 1.0), (1, 1.0), (2, 3.0)]
        records = [record("ringway-uring", *p) for p in ours] + [record("bare-ring", *p) for p in theirs]
        ratio = only_cell(records)["ratios"]["bare-ring"]
        self.assertAlmostEqual(ratio["median"], 1.2)
        self.assertAlmostEqual(ratio["min"], 0.9)
        self.assertEqual(ratio["n"], 3)

    def test_a_round_that_one_side_lacks_is_not_paired(self):
        records = [record("ringway-uring", 0, 1.0), record("ringway-uring", 1, 9.0), record("bare-ring", 0, 1.0)]
        self.assertEqual(only_cell(records)["ratios"]["bare-ring"]["n"], 1)

    def test_bars_are_met_and_missed_by_the_median(self):
        records = [record("ringway-uring", 0, 1.04), record("bare-ring", 0, 1.0), record("fastwebsockets", 0, 1.05)]
        verdicts = {bar["against"]: bar["verdict"] for bar in only_cell(records)["bars"]}
        self.assertEqual(verdicts, {"bare-ring": "met", "fastwebsockets": "missed"})

    def test_a_bar_is_not_judged_when_the_server_was_not_saturated(self):
        records = [record("ringway-uring", 0, 1.0), record("bare-ring", 0, 1.0, saturated=False)]
        bar = only_cell(records)["bars"][0]
        self.assertEqual(bar["verdict"], "not judged (met if it were)")
        self.assertIn("rival not saturated (40%)", bar["notes"])

    def test_the_best_peer_is_the_cheapest_of_the_cell(self):
        peers = [record("fastwebsockets", 0, 5.0, 16384), record("tungstenite", 0, 4.0, 16384)]
        cell = only_cell(peers + [record("ringway-uring", 0, 3.9, 16384), record("bare-ring", 0, 1.0, 16384)])
        self.assertEqual(cell["ratios"]["best peer"]["server"], "tungstenite")
        self.assertEqual([(b["against"], b["verdict"]) for b in cell["bars"]], [("best peer", "missed"), ("ringway-epoll", "no data")])

    def test_of_several_attempts_the_least_disturbed_counts_whatever_its_result(self):
        records = [record("bare-ring", 0, 1.0, waiting=0.3), record("bare-ring", 0, 2.0, waiting=0.01)]
        self.assertEqual(only_cell(records)["servers"]["bare-ring"]["cpu_us_per_message"]["median"], 2.0)

    def test_failed_runs_are_listed_and_not_counted(self):
        result = summary.summarise([record("bare-ring", 0, 1.0), record("tungstenite", 0, 1.0, errors=1)])
        self.assertNotIn("tungstenite", result["cells"][0]["servers"])
        self.assertEqual(result["failures"][0]["server"], "tungstenite")
        self.assertIn("tungstenite, 20 B × 100 × 1, round 0: bad", summary.markdown(result, ["bare-ring"], "t", []))

    def test_a_run_with_an_error_of_its_own_is_not_counted(self):
        empty = {**record("tungstenite", 0, 1.0), "error": "no message came back within the window of 0.3 s"}
        result = summary.summarise([record("bare-ring", 0, 1.0), empty])
        self.assertNotIn("tungstenite", result["cells"][0]["servers"])
        self.assertEqual(len(result["failures"]), 1)


if __name__ == "__main__":
    unittest.main()

"""What a command line of bench/pairs means, and what its summary says."""

import argparse
import unittest
from pathlib import Path

from matrix import pairs


class Pairs(unittest.TestCase):
    def test_a_path_makes_a_build_of_ringway_and_a_name_alone_a_contestant(self):
        known, path = pairs.contestant("before@epoll=/x/server")
        self.assertEqual((known.name, known.role, path), ("before@epoll", "ours", Path("/x/server")))
        self.assertIn("epoll", known.arguments)
        known, path = pairs.contestant("bare-ring")
        self.assertEqual((known.mode, path), ("tcp", None))
        known, path = pairs.contestant("bare-ring=/x/bare_echo")
        self.assertEqual((known.mode, path), ("tcp", Path("/x/bare_echo")))
        with self.assertRaises(argparse.ArgumentTypeError):
            pairs.contestant("nobody")

    def test_every_contestant_has_a_program(self):
        from matrix.contestants import CONTESTANTS

        self.assertFalse({known.binary for known in CONTESTANTS.values()} - pairs.programs().keys())

    def test_quartiles_that_span_one_are_a_tie(self):
        base = [2.0, 2.0, 2.0, 2.0]
        lines = list(pairs.summary("20:1", {"a": base, "b": [1.9, 2.1, 1.9, 2.1], "c": [2.2] * 4, "d": [1.8] * 4}))
        words = [line.split(", ")[-2].split()[-1] for line in lines]
        self.assertEqual(words, ["(1–1)", "tie", "more", "less"])

    def test_a_cell_without_a_whole_round_has_no_figure(self):
        self.assertIn("no round", next(pairs.summary("20:1", {"a": []})))


if __name__ == "__main__":
    unittest.main()

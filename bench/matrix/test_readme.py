"""The table of the README: its figures, its shape, and that nothing around it is touched."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

from matrix import readme


def cell(size, costs):
    servers = {name: {"cpu_us_per_message": {"median": cost}} for name, cost in costs.items()}
    return {"size": size, "connections": 100, "in_flight": 1, "servers": servers}


class Readme(unittest.TestCase):
    def test_few_servers_are_columns_in_the_order_of_the_contestants(self):
        summary = {"cells": [cell(20, {"bare-ring": 0.21, "ringway-uring": 3.414}), cell(1 << 20, {"ringway-uring": 310.8})]}
        self.assertEqual(
            readme.table(summary),
            [
                "| | Ringway, io_uring | bare |",
                "|---|---|---|",
                "| 20 B, 100 connections, 1 in flight | 3.41 | 0.210 |",
                "| 1 MiB, 100 connections, 1 in flight | 311 | – |",
            ],
        )

    def test_many_servers_are_rows(self):
        names = ["ringway-uring", "ringway-epoll", "fastwebsockets", "tungstenite", "tokio-uring", "uwebsockets", "beast", "bare-ring"]
        lines = readme.table({"cells": [cell(20, dict.fromkeys(names, 1.0)), cell(1024, dict.fromkeys(names, 2.0))]})
        self.assertEqual(lines[:2], ["| | 20 B, 100 connections, 1 in flight | 1 KiB, 100 connections, 1 in flight |", "|---|---|---|"])
        self.assertEqual(lines[2], "| Ringway, io_uring | 1.00 | 2.00 |")
        self.assertEqual(len(lines), 10)

    def test_a_result_without_any_of_the_cells_is_refused(self):
        with self.assertRaisesRegex(ValueError, "20x100x1"):
            readme.table({"cells": [cell(21, {"ringway-uring": 1.0})]})

    def test_only_what_is_between_the_markers_changes(self):
        page = f"before\n\n{readme.BEGIN}\n| old |\n{readme.END}\n\nafter\n"
        self.assertEqual(readme.rewrite(page, ["| new |"]), f"before\n\n{readme.BEGIN}\n| new |\n{readme.END}\n\nafter\n")

    def test_a_page_without_both_markers_is_refused(self):
        other = readme.begin("bench/tls")
        twice = f"{readme.BEGIN}{readme.END}" * 2
        for page in ("", readme.BEGIN, f"{readme.END}{readme.BEGIN}", twice, f"{readme.BEGIN}{other}{readme.END}", f"{other}{readme.END}"):
            with self.assertRaises(ValueError):
                readme.rewrite(page, [])

    def test_each_program_has_its_own_table_in_one_page(self):
        page = "".join(f"{name}\n{readme.begin(name)}\n| old |\n{readme.END}\n" for name in ("bench/run", "bench/deflate", "bench/tls"))
        changed = readme.rewrite(page, ["| new |"], "bench/deflate")
        old, new = f"{readme.begin('bench/deflate')}\n| old |", f"{readme.begin('bench/deflate')}\n| new |"
        self.assertEqual(changed, page.replace(old, new))

    def test_a_table_is_written_into_a_file_and_a_result_that_has_none_is_refused(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as said:
            page = Path(folder, "page.md")
            page.write_text(f"{readme.begin('bench/tls')}\n{readme.END}\n")
            readme.write(Path(folder), page, lambda _: ["| new |"], "bench/tls")
            self.assertIn("| new |", page.read_text())
            self.assertIn("does not name", said.getvalue())
            with self.assertRaisesRegex(SystemExit, "nothing of it"):
                readme.write(Path(folder), page, self.refuse, "bench/tls")

    @staticmethod
    def refuse(_):
        raise ValueError("nothing of it")


if __name__ == "__main__":
    unittest.main()

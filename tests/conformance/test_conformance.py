"""The judge is judged: `scripts/conformance` sees every kind of difference."""

import argparse
import importlib.machinery
import importlib.util
import json
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/conformance"
LOADER = importlib.machinery.SourceFileLoader("conformance", str(SCRIPT))
SPEC = importlib.util.spec_from_loader("conformance", LOADER)
conformance = importlib.util.module_from_spec(SPEC)
LOADER.exec_module(conformance)

OK = {"behavior": "OK", "behaviorClose": "OK"}


class Compare(unittest.TestCase):
    def test_equal_reports_have_no_difference(self):
        self.assertEqual(conformance.compare({"1.1.1": OK}, {"1.1.1": dict(OK)}), [])

    def test_non_strict_is_a_difference(self):
        seen = {"6.4.1": {"behavior": "NON-STRICT", "behaviorClose": "OK"}}
        self.assertEqual(conformance.compare({"6.4.1": OK}, seen),
                         [("6.4.1", "OK/OK", "NON-STRICT/OK")])

    def test_wrong_close_is_a_difference(self):
        seen = {"7.1.5": {"behavior": "OK", "behaviorClose": "WRONG CODE"}}
        self.assertEqual(conformance.compare({"7.1.5": OK}, seen),
                         [("7.1.5", "OK/OK", "OK/WRONG CODE")])

    def test_better_than_expected_is_a_difference(self):
        expected = {"7.1.6": {"behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL"}}
        self.assertEqual(conformance.compare(expected, {"7.1.6": OK}),
                         [("7.1.6", "INFORMATIONAL/INFORMATIONAL", "OK/OK")])

    def test_missing_and_extra_cases_are_differences_in_numeric_order(self):
        self.assertEqual(conformance.compare({"10.1.1": OK}, {"9.1.1": OK}),
                         [("9.1.1", "no such case", "OK/OK"), ("10.1.1", "OK/OK", "no such case")])


class Sections(unittest.TestCase):
    def test_ranges_skip_the_sections_that_do_not_exist(self):
        self.assertEqual(conformance.parse_sections("7-10,12"), [7, 9, 10, 12])

    def test_unknown_sections_are_refused(self):
        for text in ("8", "11", "14", "", "a", "1-", "7-1", "1,,2"):
            with self.subTest(text), self.assertRaises(argparse.ArgumentTypeError):
                conformance.parse_sections(text)

    def test_the_chunks_hold_every_section_once(self):
        self.assertEqual(conformance.plan([1, 9, 10]),
                         [("1-7,10", ["1.*", "10.*"]), ("9", ["9.*"])])
        everything = conformance.plan(conformance.SECTIONS, full=True)
        patterns = [p for _, cases in everything for p in cases]
        self.assertEqual(sorted(patterns), sorted(
            [f"{n}.*" for n in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
            + [f"12.{n}.*" for n in (1, 2, 3, 4, 5)]
            + [f"13.{n}.*" for n in (1, 2, 3, 4, 5, 6, 7)]))


    def test_of_the_compressed_sections_only_the_short_cases_run_unless_all_are_wanted(self):
        plan = dict(conformance.plan([12]))
        self.assertEqual(plan["12.1"], [f"12.1.{n}" for n in (1, 2, 3, 4, 5, 11)])
        self.assertTrue(conformance.is_short("12.1.5") and conformance.is_short("9.1.6"))
        self.assertFalse(conformance.is_short("13.7.6"))


class Expected(unittest.TestCase):
    def test_everything_is_ok_but_three_informational_cases(self):
        expected = json.loads(conformance.EXPECTED.read_text(encoding="ascii"))
        others = {case: result for case, result in expected.items() if result != OK}
        informational = {"behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL"}
        self.assertEqual(others, dict.fromkeys(["7.1.6", "7.13.1", "7.13.2"], informational))
        self.assertEqual(len(expected), 517)


if __name__ == "__main__":
    unittest.main()

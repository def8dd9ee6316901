import importlib.util
import json
import os
import unittest

SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def load(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], os.path.join(SCRIPTS, path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench_table = load("bench_table.py")
check_wheel = load("ci/check_wheel.py")

ROW = {
    "workload": "insert 100k",
    "ours": 1.5,
    "peer": 1.0,
    "peer_name": "plain | libSQL",
    "unit": "s",
    "ratio": 1.5,
    "target": None,
    "pass": None,
}


class BenchTable(unittest.TestCase):
    def test_numbers(self):
        wanted = {
            0: "0",
            0.1234: "0.123",
            1.5: "1.50",
            12.34: "12.3",
            123.4: "123",
            12345.6: "12,346",
            None: "",
        }
        self.assertEqual({value: bench_table.number(value) for value in wanted}, wanted)

    def test_rows_become_a_table(self):
        text = bench_table.table(
            [ROW, {**ROW, "target": 2, "pass": True}, {**ROW, "target": 1, "pass": False}], "_c_"
        )
        lines = text.splitlines()
        self.assertEqual(lines[2], "| insert 100k | 1.50 | 1.00 (plain \\| libSQL) | s | 1.50 |  |  |")
        self.assertTrue(lines[3].endswith("| ≤ 2.00 | ok |"))
        self.assertTrue(lines[4].endswith("| **missed** |"))
        self.assertEqual(lines[-1], "_c_")

    def test_only_the_part_between_the_markers_changes(self):
        once = bench_table.replace("# Mine\n\ntext\n", "sync", "one")
        self.assertEqual(
            once, "# Mine\n\ntext\n\n## sync\n\n<!-- bench:sync -->\none\n<!-- /bench:sync -->\n"
        )
        both = bench_table.replace(once + "\nafter\n", "engine", "e")
        twice = bench_table.replace(both, "sync", r"two \1")
        self.assertEqual(twice, both.replace("one", r"two \1"))
        self.assertTrue(bench_table.replace("", "sync", "x").startswith("# Performance\n"))
        with self.assertRaises(bench_table.BadRow):
            bench_table.replace("<!-- bench:sync -->", "sync", "x")

    def test_bad_rows(self):
        self.assertEqual(bench_table.parse([json.dumps(ROW), "\n"]), [ROW])
        for lines in ([], ["nope"], ["[1]"], ["3"], [json.dumps({"workload": 1})]):
            with self.subTest(lines), self.assertRaises(bench_table.BadRow):
                bench_table.parse(lines)


class Wheel(unittest.TestCase):
    NAMES = [
        "ditto/__init__.py",
        "ditto/py.typed",
        "ditto/_ffi/lib.so",
        "ditto-1.dist-info/licenses/LICENSE-MIT",
    ]
    METADATA = "License-Expression: Apache-2.0 OR MIT\nRequires-Python: >=3.10\n"

    def test_complete(self):
        self.assertEqual(check_wheel.problems(self.NAMES, self.METADATA, 1), [])

    def test_each_missing_part_is_named(self):
        for missing in self.NAMES:
            names = [name for name in self.NAMES if name != missing]
            self.assertEqual(len(check_wheel.problems(names, self.METADATA, 1)), 1, missing)
        self.assertEqual(len(check_wheel.problems(self.NAMES, "", 1)), 2)
        self.assertEqual(len(check_wheel.problems([*self.NAMES, "tests/test_a.py"], self.METADATA, 1)), 1)
        self.assertEqual(len(check_wheel.problems(self.NAMES, self.METADATA, 10**9)), 1)


if __name__ == "__main__":
    unittest.main()

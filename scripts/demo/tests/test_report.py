import io
import unittest

from demo.report import Report, size, table


class Reports(unittest.TestCase):
    def report(self):
        self.out = io.StringIO()
        return Report(self.out, clock=lambda: 0.0)

    def test_passes_only_with_checks_that_all_held(self):
        report = self.report()
        self.assertFalse(report.passed())
        report.check("one", True)
        self.assertTrue(report.passed())
        report.check("two", False, "why")
        report.check("three", True)
        self.assertFalse(report.passed())
        report.summary()
        self.assertIn("FAILED two (why)", self.out.getvalue())
        self.assertIn("2 of 3 checks held", self.out.getvalue())

    def test_table(self):
        self.assertEqual(
            table(["a", "long head"], [["wider", "x"], ["y", "z"]]).splitlines(),
            ["a      long head", "-----  ---------", "wider  x", "y      z"],
        )

    def test_size(self):
        self.assertEqual(
            [size(n) for n in (0, 999, 1500, 2_328_516, 5 * 10**12)],
            ["0 B", "999 B", "1.5 kB", "2.3 MB", "5000.0 GB"],
        )


if __name__ == "__main__":
    unittest.main()

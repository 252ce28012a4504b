"""examples/train.cpp: at most 25 lines; it trains, is killed, goes on, and repeats. Usage: example_test.py EXAMPLE"""
import pathlib
import subprocess
import sys
import unittest

from support import Case, make_photos

EXAMPLE = pathlib.Path(sys.argv.pop(1)).resolve()
SOURCE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "train.cpp"


class Example(Case):
    def run_example(self, out, timeout=300):
        return subprocess.run([EXAMPLE, "photos", out], cwd=self.dir, capture_output=True, text=True, timeout=timeout)

    def test_it_is_short(self):
        self.assertLessEqual(len(SOURCE.read_text().splitlines()), 25)

    def test_it_trains_and_goes_on_after_a_kill(self):
        make_photos(self.dir / "photos", count=24)
        whole = self.run_example("whole")
        self.assertEqual(whole.returncode, 0, whole.stderr)
        self.assertRegex(whole.stdout, r"top1 +[01]\.\d+")
        for seconds in (1, 2):
            try:
                self.run_example("killed", timeout=seconds)  # kills it
            except subprocess.TimeoutExpired:
                pass
        again = self.run_example("killed")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(again.stdout, whole.stdout)
        weights = "model/model.safetensors"
        self.assertEqual((self.dir / "killed" / weights).read_bytes(), (self.dir / "whole" / weights).read_bytes())


if __name__ == "__main__":
    unittest.main()

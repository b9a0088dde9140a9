"""Tests of tools/peers: the statistics, and turns with workers that behave well and badly."""

import math
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

import report  # noqa: E402
import rounds  # noqa: E402

# Says that it is ready, then answers; the text stands in for an engine.
GOOD = "import sys; print('noise'); print('ready {\"load_ms\": 1.0, \"logits\": [1.0], \"note\": \"\"}', flush=True)\n" + (
    "for line in sys.stdin: print([2.0, 1.0, 3.0][: int(line.split()[1])], flush=True)"
)
DIES_LATER = GOOD.replace("for line", "sys.stdin.readline(); print([1.0], flush=True); sys.exit('out of luck')\nfor line")


class Statistics(unittest.TestCase):
    def test_student_is_the_tables(self) -> None:
        for degrees, quantile in ((1, 12.706), (2, 4.303), (9, 2.2622), (19, 2.0930), (39, 2.0227)):
            self.assertAlmostEqual(report.student(degrees), quantile, delta=0.002)

    def test_the_ratio_is_paired(self) -> None:
        # The machine slows down twofold in between; each pair still says 1.5.
        ratio = report.paired([1.5, 3.0, 1.5, 3.0], [1.0, 2.0, 1.0, 2.0])
        self.assertAlmostEqual(ratio.value, 1.5)
        self.assertAlmostEqual(ratio.low, 1.5)
        self.assertEqual(ratio.verdict, "faster")

    def test_the_interval_is_students(self) -> None:
        # Logarithms -1, 0, 1: standard deviation 1, so 4.303 / sqrt(3) on each side of 0.
        ratio = report.paired([math.exp(-1), 1.0, math.e], [1.0, 1.0, 1.0])
        self.assertAlmostEqual(math.log(ratio.high), 4.303 / math.sqrt(3), places=6)
        self.assertEqual(ratio.verdict, "undecided")

    def test_the_fastest_peer_counts_and_the_missing_is_named(self) -> None:
        row = {"network": "resnet18", "precision": "int8", "threads": 1}
        results = [
            row | {"engine": "quantlens", "peer": "quantlens", "round_ms": [2.0, 2.0]},
            row | {"engine": "slow", "peer": "slow", "round_ms": [9.0, 9.0]},
            row | {"engine": "fast", "peer": "fast", "round_ms": [3.0, 3.0]},
            row | {"engine": "absent", "peer": "absent", "error": "not installed"},
        ]
        (cell,) = report.cells(results)
        self.assertEqual((cell["best_peer"], cell["target"]), ("fast", 1.0))
        self.assertAlmostEqual(cell["ratio"], 1.5)
        self.assertIn("absent: not installed (resnet18 int8)", report.table(results))


class Turns(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.models = self.logs = Path(folder.name)
        (self.models / "net-x").touch()

    def start(self, name: str, program: str) -> rounds.Lane:
        engine = rounds.Engine(name, name, "f32", "x", (sys.executable, "-c", program))
        lane = rounds.start(engine, "net", 1, self)
        self.addCleanup(lane.stop)
        return lane

    def test_all_take_turns_and_one_that_dies_drops_out(self) -> None:
        good, bad = self.start("good", GOOD), self.start("bad", DIES_LATER)
        failed = rounds.run([good, bad], 3, 0.001, 0.0)
        self.assertEqual([len(times) for times in good.rounds], [3, 3, 3])
        self.assertEqual([(lane.engine.name, why) for lane, why in failed], [("bad", "ended: out of luck")])

    def test_one_that_cannot_start_says_why(self) -> None:
        with self.assertRaisesRegex(rounds.WorkerError, "ended: no such op"):
            self.start("broken", "import sys; sys.exit('no such op')")
        engine = rounds.Engine("gone", "gone", "f32", "y", (sys.executable,))
        with self.assertRaisesRegex(rounds.WorkerError, "net-y is not there"):
            rounds.start(engine, "net", 1, self)


if __name__ == "__main__":
    unittest.main()

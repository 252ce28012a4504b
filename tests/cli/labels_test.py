"""Pictures of several labels: check, pack, train, eval, predict and what is refused. Usage: labels_test.py PROGRAM"""
import csv
import io
import json
import math
import pathlib
import random
import shutil
import struct
import tempfile

from support import Case, ballast, main, png

NAMES = ["red", "green", "blue"]


def make_squares(root, count=192, size=16, seed=0):
    """Pictures with a square for each of their labels, each colour in a third of its own, and list.csv: half train, rest val and test."""
    draw = random.Random(seed)
    root = pathlib.Path(root)
    root.mkdir(parents=True, exist_ok=True)
    rows = ["path,label,role"]
    for i in range(count):
        top = [draw.randrange(size - 5) for _ in range(3)]

        def pixel(x, y):
            c = min(x // 5, 2)
            dark = [draw.randrange(60) for _ in range(3)]
            if i >> c & 1 and x < 15 and top[c] <= y < top[c] + 5:
                dark[c] = 240
            return dark

        (root / f"{i:03}.png").write_bytes(png(size, size, pixel))
        label = ";".join(name for c, name in enumerate(NAMES) if i >> c & 1)
        rows.append(f"{i:03}.png,{label},{'train' if i % 32 < 16 else 'val' if i % 32 < 24 else 'test'}")
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    return root


RECIPE = ["--model", "plain_cnn:3x8", "--epochs", "16", "--batch-size", "16", "--lr", "0.1", "--augment", "none", "--threads", "1",
          "--workers", "0", "--progress", "plain"]


class Labels(Case):
    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="ballast-cli-"))
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        make_squares(cls.home / "squares")
        cls.trained = ballast("train", "--data", "squares/list.csv", "--name", "first", "--json", *RECIPE, cwd=cls.home)

    def here(self, *words, **more):
        return ballast(*words, cwd=self.home, **more)

    def setUp(self):
        super().setUp()
        self.assertEqual(self.trained.code, 0, self.trained.err)

    def test_train_reports_metrics_of_several_labels(self):
        document = self.trained.json()
        self.assertEqual(list(document["test"]), ["loss", "map", "micro_f1", "exact_match"])
        self.assertGreater(document["test"]["map"], 0.95)
        self.assertEqual(document["plan"]["monitor"], "val/loss")
        self.assertIn("a picture may have several labels: 3 classes in 8 combinations", self.trained.err)
        self.assertIn("map", self.trained.err)
        self.assertNotIn("top1", self.trained.err)
        run = self.home / "runs/first"
        checks = [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if row["kind"] == "check"]
        for row in checks:
            self.assertNotIn("top1", row)
            self.assertEqual(len(row["average_precision"]), 3)
        self.assertEqual(len(checks), 17)  # and one of the test part
        events = next(run.rglob("events.out.tfevents*")).read_bytes()
        self.assertIn(b"val/map", events)
        self.assertNotIn(b"val/top1", events)
        again = self.here("train", "--data", "squares/list.csv", "--name", "first", *RECIPE)
        self.assertIn("had ended", again.out)

    def test_what_if_and_lists_know_such_a_run(self):
        result = self.here("what-if", "runs/first", "--patience", "2", "--monitor", "val/map", "--json")
        self.assertEqual(result.json()["monitor"], "val/map")
        self.refused(self.here("what-if", "runs/first", "--patience", "2", "--monitor", "val/top1"), 3, "must have top1 in its checks, it has not")
        self.assertIsNone(self.here("list", "runs", "--json").json()[0]["test_top1"])
        self.assertEqual(self.here("report", "runs/first").code, 0)

    def test_eval(self):
        text = self.here("eval", "runs/first").out
        for word in ["map ", "micro F1", "exact ", "AP"]:
            self.assertIn(word, text)
        self.assertNotIn("top1", text)
        document = self.here("eval", "runs/first", "--json", "--predictions", self.dir / "p.safetensors").json()
        for name, value in self.trained.json()["test"].items():
            self.assertAlmostEqual(document[name], value, places=5)
        self.assertNotIn("top1", document)
        self.assertEqual([row["class"] for row in document["per_class"]], ["blue", "green", "red"])
        self.assertIn("average_precision", document["per_class"][0])
        data = (self.dir / "p.safetensors").read_bytes()
        header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        self.assertEqual(header["__metadata__"]["labels"], "several")
        self.assertEqual(header["targets"]["shape"], [48, 3])
        self.assertNotIn("target", header)
        self.refused(self.here("eval", "runs/first", "--mc", "2"), 2, "mc must be 0 for a model of several labels a picture, got 2")
        mirrored = self.here("eval", "runs/first", "--json", "--tta", "identity,vflip")
        self.assertGreater(mirrored.json()["map"], 0.9)

    def test_predict(self):
        files = [f"squares/{i:03}.png" for i in range(24, 32)]
        table = self.here("predict", "runs/first", *files)
        self.assertEqual(table.code, 0, table.err)
        rows = list(csv.DictReader(io.StringIO(self.here("predict", "runs/first", *files, "--format", "csv").out)))
        self.assertEqual(list(rows[0]), ["file", "error", "labels", "probabilities"])
        document = self.here("predict", "runs/first", *files, "--json", "--logits").json()
        right = 0
        for i, (one, row) in enumerate(zip(document["predictions"], rows)):
            probability = {c: 1 / (1 + math.exp(-z)) for c, z in zip(document["classes"], one["logits"])}
            want = sorted((c for c in probability if probability[c] > 0.5), key=lambda c: -probability[c])
            self.assertEqual([label["class"] for label in one["labels"]], want)
            self.assertEqual(row["labels"], ";".join(want))
            for label, text in zip(one["labels"], row["probabilities"].split(";")):
                self.assertAlmostEqual(label["probability"], probability[label["class"]], places=6)
                self.assertEqual(float(text), label["probability"])
                self.assertIn(f"{label['class']} {100 * label['probability']:.1f} %", table.out)
            right += set(want) == {name for c, name in enumerate(NAMES) if i >> c & 1}
        self.assertGreaterEqual(right, 6)
        every = self.here("predict", "runs/first", files[0], "--threshold", "0", "--json").json()
        self.assertEqual(every["threshold"], 0)
        self.assertEqual(len(every["predictions"][0]["labels"]), 3)
        (self.dir / "b.png").write_text("no picture")
        broken = self.here("predict", "runs/first", self.dir / "b.png", files[0], "--json")
        self.assertEqual(broken.code, 3)
        self.assertIn("error", broken.json()["predictions"][0])

    def test_predict_refuses_what_is_of_one_label(self):
        for flags in (["--topk", "2"], ["--min-confidence", "0.5"], ["--sort-into", str(self.dir / "out")]):
            self.refused(self.here("predict", "runs/first", "squares/000.png", *flags), 2,
                         f"{flags[0]} needs a model of one label a picture, got several in runs/first")
        self.refused(self.here("predict", "runs/first", "squares/000.png", "--mc", "2"), 2, "mc must be 0 for a model of several labels")

    def test_train_refuses_what_is_of_one_label(self):
        words = ["train", "--data", "squares/list.csv", "--name", "refused", *RECIPE]
        self.refused(self.here(*words, "--loss", "cross_entropy"), 2, "name must be bce for pictures of several labels, got cross_entropy")
        self.refused(self.here(*words, "--monitor", "val/top1"), 2, "monitor must be a metric of pictures with several labels", "got val/top1")
        self.refused(self.here(*words, "--teacher", "runs/first"), 2, "teacher must be of pictures with one label")
        self.assertFalse((self.home / "runs/refused").exists())

    def test_ensembles_and_calibration_are_refused(self):
        self.refused(self.here("calibrate", "runs/first"), 3, "pictures must have one label, they have several")
        self.refused(self.here("ensemble", "train", "--data", "squares/list.csv", "--out", "ens", "--members", "2"), 3,
                     "members must be of one label a picture, got data of several labels")
        self.assertFalse((self.home / "ens").exists())
        one = [row for row in (self.home / "squares/list.csv").read_text().splitlines() if ";" not in row and ",," not in row]
        (self.home / "squares/one.csv").write_text("\n".join(one) + "\n")
        self.refused(self.here("train", "--data", "squares/one.csv", "--name", "taught", "--teacher", "runs/first", "--quiet", *RECIPE), 3,
                     "[distill] teacher must be of one label a picture, got several in runs/first")
        self.refused(self.here("ensemble", "combine", "runs/first", "runs/first"), 3, "pictures must have one label, they have several")

    def test_mixing_by_union(self):
        words = ["train", "--data", "squares/list.csv", *RECIPE, "--epochs", "1", "--mixup", "0.4", "--json"]
        linear = self.here(*words, "--name", "linear").json()
        union = self.here(*words, "--name", "union", "--mixup-multi-label", "union").json()
        self.assertNotEqual(linear["val"]["loss"], union["val"]["loss"])

    def test_check_and_pack(self):
        checked = self.here("data", "check", "squares/list.csv", "--json", "--page", self.dir / "page.html").json()
        self.assertEqual(checked["classes"], ["blue", "green", "red"])
        self.assertEqual(checked["counts"]["train"], [48, 48, 48])
        self.assertIn("red;blue".split(";")[0], (self.dir / "page.html").read_text())
        self.assertEqual(self.here("pack", "squares/list.csv", self.dir / "squares.bpk").code, 0)
        packed = self.here("data", "check", self.dir / "squares.bpk", "--json").json()
        self.assertEqual(packed["counts"], checked["counts"])
        self.refused(self.here("pack", "squares/list.csv", self.dir / "shards", "--shards"), 2, "shards hold one label a picture")
        document = self.here("train", "--data", self.dir / "squares.bpk", "--name", "packed", "--json", *RECIPE).json()
        self.assertEqual(document["test"], self.trained.json()["test"])

    def test_errors_name_the_line(self):
        for cell, text in [("red;;blue", 'a label between ";" must not be empty'), ("red;red", "a picture must have each label once")]:
            (self.home / "squares/wrong.csv").write_text(f"path,label\n000.png,red\n001.png,{cell}\n")
            self.refused(self.here("train", "--data", "squares/wrong.csv", *RECIPE), 3, "line 3: " + text, f'got "{cell}"')


main()

"""Ensembles of files of predictions: everything that needs no torch. Usage: ensemble_test.py PROGRAM"""
import json
import math
import pathlib
import random
import struct
import unittest

from support import Case, main

CLASSES = 4


def npy(path, rows):
    """float32 (n, k), as numpy.save writes it."""
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (len(rows), len(rows[0]))
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    flat = [x for row in rows for x in row]
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack("<%df" % len(flat), *flat))


def csv(path, rows, labels=None, ids=None, names=None):
    names = names or [f"c{c}" for c in range(len(rows[0]))]
    lines = [",".join((["id"] if ids else []) + names + (["label"] if labels else []))]
    for i, row in enumerate(rows):
        lines.append(",".join(([str(ids[i])] if ids else []) + [repr(x) for x in row] + ([str(labels[i])] if labels else [])))
    path.write_text("\n".join(lines) + "\n")


def softmax(row):
    top = max(row)
    e = [math.exp(x - top) for x in row]
    return [x / sum(e) for x in e]


class Ensemble(Case):
    def setUp(self):
        super().setUp()
        draw = random.Random(5)
        self.n = 900
        self.labels = [draw.randrange(CLASSES) for _ in range(self.n)]
        common = [[draw.gauss(0, 1) for _ in range(CLASSES)] for _ in range(self.n)]
        self.members = []
        for m in range(4):
            self.members.append([[struct.unpack("f", struct.pack("f", 3 * (common[i][c] * 0.7 + draw.gauss(0, 1) + 1.6 * (c == self.labels[i]))))[0]
                                  for c in range(CLASSES)] for i in range(self.n)])
        self.root = pathlib.Path(self.dir)
        for m, rows in enumerate(self.members):
            npy(self.root / f"m{m}.npy", rows)
        (self.root / "y.csv").write_text("label\n" + "\n".join(map(str, self.labels)) + "\n")
        self.files = [f"m{m}.npy" for m in range(4)]

    def ensemble(self, *words):
        return self.run_in("ensemble", *words)

    def json(self, *words):
        result = self.ensemble(*words, "--json")
        self.assertEqual(result.code, 0, result.err)
        return result.json()

    def test_combine_gives_the_mean_and_its_figures(self):
        out = self.json("combine", *self.files, "--labels", "y.csv", "--out", "p.safetensors")
        mean = [[sum(softmax(m[i])[c] for m in self.members) / 4 for c in range(CLASSES)] for i in range(self.n)]
        nll = -sum(math.log(p[y]) for p, y in zip(mean, self.labels)) / self.n
        right = sum(max(range(CLASSES), key=lambda c: p[c]) == y for p, y in zip(mean, self.labels)) / self.n
        figures = {f["name"]: f for f in out["figures"]}
        self.assertAlmostEqual(figures["mean_probability"]["nll"]["value"], nll, places=5)
        self.assertAlmostEqual(figures["mean_probability"]["accuracy"]["value"], right, places=9)
        self.assertLess(figures["mean_probability"]["nll"]["low"], nll)
        self.assertGreater(figures["mean_probability"]["nll"]["high"], nll)
        self.assertEqual(len(out["figures"]), 5)
        # The file is a member again, with its labels.
        again = self.json("combine", "p.safetensors")
        self.assertAlmostEqual(again["figures"][-1]["nll"]["value"], nll, places=5)

    def test_every_rule_and_every_kind_of_weights(self):
        for rule in ["mean_probability", "mean_logit", "geometric", "median", "trimmed_mean", "hard_vote", "borda", "instant_runoff"]:
            out = self.json("combine", *self.files, "--labels", "y.csv", "--rule", rule)
            best = max(f["accuracy"]["value"] for f in out["figures"][:-1])
            self.assertGreater(out["figures"][-1]["accuracy"]["value"], best, rule)
        for weights in ["fit", "greedy", "stack", ".5,.3,.2,0"]:
            out = self.json("combine", *self.files, "--labels", "y.csv", "--weights", weights)
            self.assertLess(out["figures"][-1]["nll"]["value"], out["mean_member"]["nll"] * 0.85, weights)
            if weights[0] != ".":
                self.assertEqual(out["figures"][-1]["n"], 900 - 270)  # rows of the fit are not judged
                self.assertFalse(out["optimistic"])
        self.assertTrue(self.json("combine", *self.files, "--labels", "y.csv", "--weights", "fit", "--share-roles")["optimistic"])

    def test_select_calibrate_prune_cascade_eval(self):
        out = self.json("select", *self.files, "--labels", "y.csv", "--cost", "1,1,1,9", "--budget", "3")
        self.assertEqual(out["weights"][3], 0)
        self.assertLessEqual(out["cost"], 3)
        out = self.json("calibrate", *self.files, "--labels", "y.csv", "--calib-share", "0.5")
        self.assertLessEqual(out["nll_after"], out["nll_before"])
        self.assertLessEqual(out["evaluations"], 15)
        before, after = out["figures"]
        self.assertEqual(before["accuracy"]["value"], after["accuracy"]["value"])
        self.assertAlmostEqual(before["n"], 450, delta=CLASSES)
        out = self.json("prune", *self.files, "--labels", "y.csv", "--margin", "0.5")
        self.assertLess(len(out["kept"]), 4)
        self.assertEqual([row["size"] for row in out["curve"]], [4, 3, 2, 1])
        out = self.json("cascade", *self.files, "--labels", "y.csv", "--max-nll", "0.5", "--max-accuracy", "20")
        self.assertLess(out["expected_ms"], out["worst_ms"])
        self.assertAlmostEqual(sum(s["exits"] for s in out["stages"]), 1)
        out = self.json("eval", *self.files, "--labels", "y.csv")
        self.assertGreater(out["diversity"]["disagreement"], 0.1)

    def test_the_page_holds_no_other_file(self):
        result = self.ensemble("report", *self.files, "--labels", "y.csv", "--out", "page.html")
        self.assertEqual(result.code, 0, result.err)
        page = (self.root / "page.html").read_text()
        for text in ["Against the number of members", "How members differ", "Reliability", "m3.npy"]:
            self.assertIn(text, page)
        self.assertNotIn("src=\"http", page)

    def test_rows_and_classes_in_another_order_are_brought_into_one(self):
        ids = list(range(self.n))
        csv(self.root / "a.csv", self.members[0], self.labels, ids)
        order = ids[::-1]
        turned = [2, 0, 3, 1]
        csv(self.root / "b.csv", [[self.members[1][i][c] for c in turned] for i in order], [turned.index(self.labels[i]) for i in order], order,
            [f"c{c}" for c in turned])
        mixed = self.json("combine", "a.csv", "b.csv")
        plain = self.json("combine", "m0.npy", "m1.npy", "--labels", "y.csv")
        self.assertEqual(mixed["figures"][-1]["nll"]["value"], plain["figures"][-1]["nll"]["value"])

    def test_what_does_not_belong_together_is_refused(self):
        csv(self.root / "a.csv", self.members[0], self.labels, range(self.n))
        csv(self.root / "short.csv", self.members[1][:-3], self.labels[:-3], range(self.n - 3))
        csv(self.root / "names.csv", self.members[1], self.labels, range(self.n), ["c0", "c1", "c2", "x"])
        csv(self.root / "labels.csv", self.members[1], [0] * self.n, range(self.n))
        npy(self.root / "wide.npy", [row + [0.0] for row in self.members[1]])
        bad = [list(row) for row in self.members[1]]
        bad[17][2] = float("nan")
        npy(self.root / "nan.npy", bad)
        y = ["--labels", "y.csv"]
        for words, code, text in [
            (["a.csv", "short.csv"], 3, "short.csv lacks 3 of the rows of a.csv: 897, 898, 899"),
            (["a.csv", "names.csv"], 3, 'classes must match: "c3" of a.csv is none of names.csv'),
            (["a.csv", "labels.csv"], 3, "labels must agree"),
            (["m0.npy", "wide.npy", *y], 3, "members must have equal classes, got 4 in m0.npy and 5 in wide.npy"),
            (["m0.npy", "nan.npy", *y], 2, "[combine] scores must be finite, got nan at row 17, class 2 of member 1"),
            (["m0.npy", "m1.npy", "m0.npy", *y], 3, "members 0 and 2 are identical on all 900 rows (m0.npy and m0.npy): same seed?"),
            (["m0.npy", "none.npy", *y], 3, "none.npy"),
            (["m0.npy", "m1.npy", "--weights", "fit"], 2, "labels are required"),
            (["m0.npy", "m1.npy", *y, "--weights", "1,2,3"], 2, "[combine] weights must be >= 0, sum > 0, one per member, got 3 for 2"),
            (["m0.npy", "m1.npy", *y, "--weights", "1,2", "--rule", "median"], 2, "[combine] median takes no weights"),
            (["m0.npy", "m1.npy", *y, "--rule", "mean_logits"], 2, 'did you mean "mean_logit"?'),
        ]:
            self.refused(self.ensemble("combine", *words), code, text)
        self.refused(self.ensemble("calibrate", "m0.npy", "m1.npy", *y, "--on", "select", "--weights", "fit"), 3,
                     '[roles] calib must not read rows used before'.replace("calib", "select"), 'were used by "select" for the weights')
        self.refused(self.ensemble("calibrate", "m0.npy", "m1.npy", *y, "--on", "test"), 3, "must not read rows used before")

    def folder_of_runs(self):
        """Four finished runs, as far as an ensemble looks at them, and an ensemble that has adopted them."""
        for m, rows in enumerate(self.members):
            run = self.root / f"run{m}"
            (run / "predictions").mkdir(parents=True)
            n = len(rows)
            sizes = {"confidence": 8, "loss": 8, "index": 8, "logits": 4 * CLASSES, "pred": 4, "rank": 4, "target": 4}
            kinds = {"confidence": "F64", "loss": "F64", "index": "I64", "logits": "F32", "pred": "I32", "rank": "I32", "target": "I32"}
            header, at = {"__metadata__": {"classes": str(CLASSES), "split": "test"}}, 0
            for name, size in sizes.items():
                header[name] = {"dtype": kinds[name], "shape": [n, CLASSES] if name == "logits" else [n], "data_offsets": [at, at + n * size]}
                at += n * size
            text = json.dumps(header).encode()
            text += b" " * (-len(text) % 8)
            body = struct.pack(f"<{2 * n}d", *[0.5] * (2 * n)) + struct.pack(f"<{n}q", *range(n)) + b"".join(struct.pack(f"<{CLASSES}f", *row) for row in rows)
            body += struct.pack(f"<{n}i", *self.labels) + struct.pack(f"<{n}i", *[0] * n) + struct.pack(f"<{n}i", *self.labels)
            (run / "predictions" / "test.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
        result = self.ensemble("adopt", "ens", "run0", "run1", "run2", "run3")
        self.assertEqual(result.code, 0, result.err)

    def test_an_ensembles_folder_keeps_rule_and_temperature_and_refuses_leaks(self):
        self.folder_of_runs()
        out = self.json("status", "ens")
        self.assertEqual([m["state"] for m in out["members"]], ["ready"] * 4)
        out = self.json("combine", "ens", "--weights", "greedy")
        self.assertEqual(out["figures"][-1]["n"], 630)
        self.refused(self.ensemble("calibrate", "ens", "--on", "select"), 3, "[roles] select must not read rows used before: 270 of 270 were used by "
                     '"select" for the weights')
        out = self.json("calibrate", "ens")
        self.assertEqual(out["figures"][0]["n"], out["figures"][1]["n"])
        self.assertLess(out["figures"][0]["n"], 460)  # neither the rows of select nor those of calib
        kept = json.loads((self.root / "ens" / "ensemble.json").read_text())
        self.assertEqual(kept["temperature"], out["temperature"])
        self.assertEqual(len(kept["members"]), 4)
        self.assertEqual(self.ensemble("report", "ens").code, 0)
        self.assertTrue((self.root / "ens" / "report.html").exists())
        self.json("eval", "ens")
        self.assertIn("test_read", (self.root / "ens" / "events.jsonl").read_text())
        self.assertEqual(self.ensemble("retire", "ens", "3").code, 0)
        self.assertEqual(len(self.json("combine", "ens")["figures"]), 4)
        self.refused(self.ensemble("retire", "ens", "9"), 2, "no member has the number 9")
        self.refused(self.ensemble("adopt", "ens", "run0"), 2, "is member 0 already")
        self.refused(self.ensemble("adopt", "ens", "."), 3, "no finished run")
        self.refused(self.ensemble("status", "run0"), 3, "no ensemble: there is no plan.json")

    def test_a_calibration_set_of_one_class_keeps_the_temperature_one(self):
        for m in (0, 1):
            npy(self.root / f"one{m}.npy", self.members[m][:400])
        (self.root / "one.csv").write_text("label\n" + "2\n" * 400)
        out = self.json("calibrate", "one0.npy", "one1.npy", "--labels", "one.csv")
        self.assertEqual((out["temperature"], out["reason"]), (1, "too few"))

    def test_training_rows_are_no_held_out_rows(self):
        header = json.dumps({"__metadata__": {"split": "train", "is_logit": "true"}, "label": {"dtype": "I32", "shape": [100], "data_offsets": [0, 400]},
                             "scores": {"dtype": "F32", "shape": [100, 4], "data_offsets": [400, 2000]}}).encode()
        header += b" " * (-len(header) % 8)
        body = struct.pack("<100i", *self.labels[:100]) + b"".join(struct.pack("<4f", *row) for row in self.members[0][:100])
        (self.root / "t.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + body)
        self.refused(self.ensemble("combine", "t.safetensors", "--weights", "stack"), 3,
                     "[stack] predictions must be out-of-fold, got member 0 on 100 of its own training rows")
        self.assertEqual(self.ensemble("combine", "t.safetensors", "--weights", "stack", "--trust-roles").code, 0)

    def test_verbs_are_listed_and_typos_answered(self):
        result = self.ensemble("--help")
        for verb in ["combine", "select", "calibrate", "prune", "cascade", "eval", "report"]:
            self.assertIn("ballast ensemble " + verb, result.out)
        self.refused(self.ensemble("combin"), 2, 'did you mean "ensemble combine"?')
        self.refused(self.ensemble(), 2, "ensemble needs a command: train, add, adopt, retire, status, combine, select")


if __name__ == "__main__":
    main()

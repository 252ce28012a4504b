"""Ensembles that ballast trains: killed, continued, grown, used. Usage: ensemble_runs_test.py PROGRAM EXAMPLE

BALLAST_SLOW_TESTS: 20 kills of parent and member each instead of 3.
"""
import csv
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import support
from support import Case, ballast, environment, main, make_photos

EXAMPLE = os.path.abspath(sys.argv.pop(2)) if len(sys.argv) > 2 and os.path.exists(sys.argv[2]) else ""
SLOW = bool(os.environ.get("BALLAST_SLOW_TESTS"))
SEED = int(os.environ.get("BALLAST_TEST_SEED", "20260101"))
QUICK = ["--model", "mlp:1x16", "--epochs", "2", "--batch-size", "16", "--workers", "0", "--no-tensorboard", "--save-every", "2st"]


def digests(ensemble):
    """Of everything of the members that must be equal."""
    out = {}
    for run in sorted(p.parent for p in pathlib.Path(ensemble).glob("members/**/result.json")):
        files = [p for folder in ("model", "predictions") for p in (run / folder).iterdir()]
        files += [run / name for name in ("metrics.jsonl", "result.json", "split.csv")]
        for p in files:
            out[str(p.relative_to(ensemble))] = hashlib.sha256(p.read_bytes()).hexdigest()
    for name in ("plan.json", "ensemble.json"):
        out[name] = hashlib.sha256((pathlib.Path(ensemble) / name).read_bytes()).hexdigest()
    return out


def matrices(weights):
    """The bytes of the tensors of two dimensions of a safetensors file."""
    data = weights.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    rows = {k: v for k, v in json.loads(data[8:start]).items() if k != "__metadata__" and len(v["shape"]) == 2}
    assert rows
    return {k: data[start + v["data_offsets"][0]:start + v["data_offsets"][1]] for k, v in rows.items()}


def roles(run):
    with open(run / "split.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {role: sorted(int(r["id"]) for r in rows if r["role"] == role) for role in ("train", "val", "test", "hold")}


def children_of(pid):
    out = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if text.rsplit(")", 1)[1].split()[1] == str(pid):
            out.append(int(stat.parent.name))
    return out


class Trained(Case):
    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="ballast-ensemble-"))
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        make_photos(cls.home / "photos", count=60)
        cls.whole = cls.home / "ens"
        begin = time.monotonic()
        cls.result = ballast(*cls.words(cls.whole), cwd=cls.home)
        cls.seconds = time.monotonic() - begin

    @classmethod
    def words(cls, out, *more, members=3):
        return ["ensemble", "train", "--data", cls.home / "photos", "--out", out, "--members", members, *QUICK, *more]

    def done(self, *words, code=0):
        result = self.run_in(*words)
        self.assertEqual(result.code, code, result.err)
        return result

    def test_one_command_trains_combines_and_calibrates(self):
        self.assertEqual(self.result.code, 0, self.result.err)
        self.assertIn("against the mean member", self.result.out)
        self.assertTrue((self.whole / "report.html").exists())
        rule = json.loads((self.whole / "ensemble.json").read_text())
        self.assertEqual([m["id"] for m in rule["members"]], [0, 1, 2])
        runs = [self.whole / "members" / f"{m:03}" for m in range(3)]
        weights = {(run / "model" / "model.safetensors").read_bytes() for run in runs}
        self.assertEqual(len(weights), 3)
        # All members share the split, and leave the same rows alone.
        self.assertEqual(roles(runs[0]), roles(runs[2]))
        self.assertEqual(len(roles(runs[0])["hold"]), 15)
        status = self.done("ensemble", "status", self.whole, "--json").json()
        self.assertEqual([m["state"] for m in status["members"]], ["ready"] * 3)
        # Nothing is left to do, and nothing changes.
        before = digests(self.whole)
        self.assertEqual(ballast(*self.words(self.whole), cwd=self.home).code, 0)
        self.assertEqual(digests(self.whole), before)

    def test_serial_and_grown_ensembles_have_the_bits_of_the_parallel_one(self):
        self.done(*self.words("serial", "--jobs", "1", members=2))
        self.done("ensemble", "add", "serial", "--jobs", "1")
        self.assertEqual(digests(self.dir / "serial"), digests(self.whole))

    def test_without_a_folder_it_makes_a_new_one(self):
        words = [w for w in self.words("-", members=2) if w not in ("--out", "-")]
        for name in ("ensemble-1", "ensemble-2"):
            self.assertIn(f"report    runs/{name}/report.html", self.done(*words).err)
        self.done(*words, "--name", "ensemble-2")  # goes on, where nothing is left to do
        self.assertEqual(sorted(p.name for p in (self.dir / "runs").iterdir()), ["ensemble-1", "ensemble-2"])

    def test_kills_of_parent_and_member_leave_no_trace(self):
        draw = random.Random(SEED)
        wanted = 20 if SLOW else 3
        whole = digests(self.whole)
        for victim in ("parent", "member"):
            kills = tries = 0
            while kills < wanted:
                self.assertLess(tries, 10 * wanted)
                out = self.dir / f"{victim}{tries}"
                tries += 1
                for attempt in range(20):
                    child = subprocess.Popen([support.BALLAST, *map(str, self.words(out))], cwd=self.dir, env=environment(),
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                    self.addCleanup(child.stderr.close)
                    time.sleep(draw.uniform(0, self.seconds))
                    targets = [child.pid] if victim == "parent" else children_of(child.pid)
                    if child.poll() is None and targets and attempt < 8:
                        os.kill(draw.choice(targets), signal.SIGKILL)
                        kills += 1
                    elif attempt >= 8 or victim == "member":
                        pass
                    err = child.stderr.read().decode()
                    code = child.wait()
                    if code == 0:
                        break
                    self.assertEqual(code, -signal.SIGKILL, err)
                self.assertEqual(digests(out), whole)
                shutil.rmtree(out)

    def test_a_stopped_ensemble_goes_on(self):
        child = subprocess.Popen([support.BALLAST, *map(str, self.words(self.dir / "ens"))], cwd=self.dir, env=environment(),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(self.dir.glob("ens/members/*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        child.terminate()
        self.assertIn(child.wait(), (75, 0))
        self.done(*self.words(self.dir / "ens"))
        self.assertEqual(digests(self.dir / "ens"), digests(self.whole))

    def test_what_varies_stands_in_each_members_configuration(self):
        self.done(*self.words("vary", "--vary", "lr=0.05,0.1", "--vary", "optim.momentum=0.5,0.8", "--vary-mode", "grid",
                              "--bag", "subset:0.5", members=4))
        seen = []
        for m in range(4):
            text = (self.dir / "vary" / "members" / f"{m:03}" / "config.toml").read_text()
            value = {line.split(" = ")[0]: line.split(" = ")[1].split()[0] for line in text.splitlines() if " = " in line}
            seen.append((value["lr"], value["momentum"]))
        self.assertEqual(seen, [("0.05", "0.5"), ("0.05", "0.8"), ("0.1", "0.5"), ("0.1", "0.8")])
        parts = [roles(self.dir / "vary" / "members" / f"{m:03}") for m in range(4)]
        self.assertEqual({len(p["train"]) for p in parts}, {65})
        self.assertNotEqual(parts[0]["train"], parts[1]["train"])
        self.assertEqual(parts[0]["hold"], parts[1]["hold"])

    def test_folds_predict_every_training_row_by_nets_that_never_saw_it(self):
        self.done(*self.words("folds", "--bag", "folds:3", "--vary", "model=mlp:1x16,mlp:1x8", members=2))
        parts = [roles(self.dir / "folds" / "members" / "001" / f"fold-{f}") for f in range(3)]
        every = sorted(i for p in parts for i in p["hold"])
        self.assertEqual(len(every), 180 - 18 - 18)
        self.assertEqual(len(set(every)), len(every))
        for p in parts:
            self.assertEqual(sorted(p["hold"] + p["train"]), every)
        out = self.done("ensemble", "combine", "folds", "--weights", "stack", "--json").json()
        self.assertIn("out-of-fold", out["roles"])
        self.assertEqual(len(out["figures"]), 3)
        self.assertGreater(out["figures"][-1]["accuracy"]["value"], 0.9)

    def test_predict_takes_an_ensemble_like_a_model(self):
        pictures = sorted((self.home / "photos").glob("*/00*.png"))
        out = self.done("predict", self.whole, *pictures, "--json", "--topk", "3", "--logits").json()
        rule = json.loads((self.whole / "ensemble.json").read_text())
        single = [self.done("predict", self.whole / "members" / f"{m:03}", *pictures, "--json", "--topk", "3").json()
                  for m in range(3)]
        for i, row in enumerate(out["predictions"]):
            mean = [0.0] * 3
            own = []
            for s in single:
                top = s["predictions"][i]["top"]
                own.append(top[0]["index"])
                for t in top:
                    mean[t["index"]] += t["probability"] / 3
            powered = [p ** (1 / rule["temperature"]) for p in mean]
            for t in row["top"]:
                self.assertAlmostEqual(t["probability"], powered[t["index"]] / sum(powered), places=4)
            self.assertEqual(row["members_used"], 3)
            self.assertEqual(row["members_agree"], own.count(row["top"][0]["index"]))
            self.assertGreaterEqual(row["mutual_information"], 0)
        right = sum(row["top"][0]["class"] == p.parent.name for row, p in zip(out["predictions"], pictures))
        self.assertGreater(right, 0.9 * len(pictures))
        text = self.done("ensemble", "predict", self.whole, pictures[0]).out
        self.assertIn("agree", text)
        self.assertIn("of 3", text)
        rows = list(csv.DictReader(self.done("predict", self.whole, pictures[0], "--format", "csv").out.splitlines()))
        self.assertEqual(rows[0]["members_used"], "3")
        self.assertIn("accuracy", self.done("eval", self.whole).out)
        if EXAMPLE:
            shown = subprocess.run([EXAMPLE, self.whole], capture_output=True, text=True, timeout=60)
            self.assertEqual(shown.returncode, 0, shown.stderr)
            self.assertRegex(shown.stdout, r"^(cat|dog|owl): 0\.\d+, [0-3] of 3 members agree")

    def test_views_and_passes_are_averaged(self):
        run = self.whole / "members" / "000"
        picture = next((self.home / "photos").glob("cat/*.png"))
        plain = self.done("predict", run, picture, "--json").json()["predictions"][0]["top"]
        twice = self.done("predict", run, picture, "--json", "--tta", "identity,identity").json()["predictions"][0]["top"]
        for a, b in zip(plain, twice):
            self.assertEqual(a["index"], b["index"])
            self.assertAlmostEqual(a["probability"], b["probability"], places=5)
        self.done("predict", self.whole, picture, "--tta", "identity,hflip,shift:2")
        self.refused(self.run_in("predict", run, picture, "--tta", "mirror"), 2,
                     'a view of --tta must be identity, hflip, vflip, shift:N, five_crop or ten_crop, got "mirror"')
        self.refused(self.run_in("predict", run, picture, "--mc", "5"), 2, "--mc needs a drop layer with p > 0")

    def test_a_student_learns_from_the_ensemble_and_goes_on_after_a_kill(self):
        shutil.copytree(self.whole, self.dir / "ens")
        words = ["ensemble", "distill", "ens", "--epochs", "3", "--threads", "1", "--json"]
        out = self.done(*words, "--out", "whole", "--beside", "ens/members/000").json()
        self.assertEqual([f["name"] for f in out["figures"]], ["teacher", "student", "without a teacher"])
        self.assertEqual([d["against"] for d in out["differences"]], ["teacher", "without a teacher"])
        self.assertGreater(out["figures"][1]["accuracy"]["value"], 0.9)
        # The teacher's figures are those of the ensemble, and the student's split is its members'.
        ensemble = self.done("ensemble", "eval", "ens", "--json").json()["figures"][-1]
        self.assertAlmostEqual(out["figures"][0]["nll"]["value"], ensemble["nll"]["value"], places=4)
        self.assertEqual(roles(self.dir / "whole"), roles(self.dir / "ens" / "members" / "000"))
        page = (self.dir / "whole" / "report.html").read_text()
        self.assertIn("Teacher on the same pictures", page)
        # Killed and continued, it ends with the same bits.
        child = subprocess.Popen([support.BALLAST, *words], cwd=self.dir, env=environment(), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(self.dir.glob("ens/student/checkpoints/step-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
        child.wait()
        self.done(*words)
        for name in ("model/model.safetensors", "metrics.jsonl", "predictions/teacher.safetensors"):
            self.assertEqual((self.dir / "ens" / "student" / name).read_bytes(), (self.dir / "whole" / name).read_bytes(), name)
        # Without the teacher's share the weights are others.
        self.done(*words, "--out", "alone", "--distill-alpha", "0")
        self.assertNotEqual((self.dir / "alone" / "model" / "model.safetensors").read_bytes(),
                            (self.dir / "whole" / "model" / "model.safetensors").read_bytes())

    def test_a_teacher_must_fit_and_stay_what_it_is(self):
        shutil.copytree(self.whole, self.dir / "ens")
        data = ["--data", self.home / "photos", *QUICK]
        self.done("train", *data, "--teacher", "ens", "--out", "run", "--checkpoint-hist", "9")
        self.assertEqual(self.done("train", "--resume", "run", "--epochs", "3", "--json").json()["teacher"].keys(),
                         json.loads((self.dir / "run" / "result.json").read_text())["teacher"].keys())
        self.done("ensemble", "combine", "ens", "--weights", ".5,.3,.2")
        result = self.run_in("train", "--resume", "run", "--epochs", "4")
        self.assertEqual(result.code, 3, result.err)
        self.assertIn("ens must say what it said when the run began", result.lines[-1])
        self.refused(self.run_in("train", *data, "--teacher", "ens", "--image-size", "24", "--out", "no"), 3,
                     "teacher must take pictures of 3 x 24 x 24 as the student does, got 3 x ")
        self.refused(self.run_in("train", *data, "--distill-alpha", "0.5"), 2, "give --teacher MODEL")
        self.refused(self.run_in("ensemble", "distill", "run"), 3, "there is no ensemble.json in it")
        self.refused(self.run_in("ensemble", "distill", "ens", "--teacher", "run"), 2, "here RUN is the teacher")

    def test_the_page_shows_the_pictures_over_which_members_disagree(self):
        # Nets of different quality, so that they disagree.
        self.done(*self.words("poor", "--vary", "lr=0.1,0.0001,0.0002"))
        page = (self.dir / "poor" / "report.html").read_text()
        section = page.split('id="disputes"')[1].split("</section>")[0]
        self.assertGreater(section.count("data:image/png;base64,"), 2)
        self.assertIn(".png, 0.", section)
        self.assertRegex(section, "<b>(cat|dog|owl)</b>")
        self.assertIn("member", section)
        # Without the data the rows are named, and why there are no pictures.
        text = (self.dir / "poor" / "members" / "000" / "config.toml").read_text()
        (self.dir / "poor" / "members" / "000" / "config.toml").write_text(
            text.replace(str(self.home / "photos"), str(self.dir / "gone")))
        self.done("ensemble", "report", "poor")
        section = (self.dir / "poor" / "report.html").read_text().split('id="disputes"')[1].split("</section>")[0]
        self.assertIn("The pictures cannot be shown:", section)
        self.assertNotIn("<img", section)

    def test_an_ensemble_becomes_one_file(self):
        out = self.done("export", self.whole, "ens.ts", "--json").json()
        self.assertLessEqual(out["difference"], 1e-5)
        self.assertEqual(out["members"], 3)
        self.assertEqual(out["classes"], ["cat", "dog", "owl"])
        self.assertTrue((self.dir / "ens.ts").exists())
        self.refused(self.run_in("export", self.whole, "ens.onnx", "--format", "onnx"), 2, "an ensemble is written as torchscript, got onnx")

    def test_soup_averages_one_runs_checkpoints_and_refuses_other_seeds(self):
        self.done("train", "--data", self.home / "photos", "--out", "run", *QUICK, "--epochs", "4", "--checkpoint-hist", "3",
                  "--threads", "1", "--hold-share", "0.1")
        self.done("ensemble", "adopt", "snaps", "run", "--checkpoints", "last:3")
        self.assertEqual(len(self.done("ensemble", "combine", "snaps", "--json").json()["figures"]), 4)
        self.done("predict", "snaps", next((self.home / "photos").glob("cat/*.png")))
        for method in ("uniform", "greedy"):
            out = self.done("ensemble", "soup", "snaps", "--out", "soup-" + method, "--method", method, "--json").json()
            self.assertLessEqual(out["barrier"], 0.05)
            self.assertEqual(out["split"], "hold")
            if method == "greedy":
                self.assertLessEqual(out["nll"], min(m["nll"] for m in out["members"]) + 1e-9)
            self.done("eval", "soup-" + method)
        self.refused(self.run_in("ensemble", "soup", self.whole, "--out", "no", "--max-barrier", "0", "--quiet"), 2,
                     "[soup] members must share a basin, barrier is")

    def test_a_lost_member_is_named_and_left_out(self):
        result = self.run_in(*self.words("lost", "--vary", "lr=0.1,0.1,1e30"))
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("member 002 1e30 is lost", result.err)
        states = [m["state"] for m in self.done("ensemble", "status", "lost", "--json").json()["members"]]
        self.assertEqual(states, ["ready", "ready", "lost"])
        result = self.run_in(*self.words("few", "--vary", "lr=1e30"))
        self.assertEqual(result.code, 4, result.err)
        self.assertIn("only 0 of 3 members are trained, --min-members is 2", result.err)

    def test_a_member_that_diverges_begins_anew_with_a_lower_rate(self):
        words = ["--vary", "lr=0.1,0.1,1e30", "--on-diverge", "lower-lr"]
        result = self.done(*self.words("lower", *words))
        self.assertIn("member 002 1e30 diverged: it begins anew with --lr 3e+29", result.err)
        self.assertIn("member 002 1e30 is lost", result.err)
        member = json.loads((self.dir / "lower" / "plan.json").read_text())["members"][2]
        self.assertEqual(member["lowered"], 3)
        self.assertAlmostEqual(float(member["recipe"]["optim.lr"]) / 2.7e28, 1)
        # With a rate that 0.3 of makes good, nobody is lost.
        result = self.done(*self.words("good", "--vary", "lr=.006,.006,.1", "--on-diverge", "lower-lr", "--max-train-loss", "4"))
        self.assertIn("member 002 .1 diverged: it begins anew with --lr 0.03", result.err)
        states = [m["state"] for m in self.done("ensemble", "status", "good", "--json").json()["members"]]
        self.assertEqual(states, ["ready"] * 3)

    def test_members_share_what_they_are_told_to(self):
        # Nothing is learned, so the two are what they started as: equal, which makes no ensemble.
        result = self.run_in(*self.words("share", "--share", "init", "--epochs", "1", "--optim.lr", "1e-30", members=2))
        self.assertEqual(result.code, 3, result.err)
        self.assertIn("members 0 and 1 are identical", result.err)
        first, second = (self.dir / "share" / "members" / m / "model" / "model.safetensors" for m in ("000", "001"))
        self.assertEqual(matrices(first), matrices(second))  # biases, drawn as 0, hold steps of 1e-30
        self.done(*self.words("apart", "--epochs", "1", "--optim.lr", "1e-30", members=2))
        first, second = (self.dir / "apart" / "members" / m / "model" / "model.safetensors" for m in ("000", "001"))
        self.assertNotEqual(matrices(first), matrices(second))
        self.refused(self.run_in(*self.words("no", "--share", "init,data,drop")), 2, "leaves nothing that differs")
        self.refused(self.run_in(*self.words("no", "--share", "order")), 2, 'must be of init, data and drop, got "order"')

    def test_wrong_words_are_answered_before_anything_is_trained(self):
        for more, text in [
            (["--vary", "model=lenett"], "did you mean"),
            (["--vary", "lr"], '--vary must be KEY=VALUE,VALUE, got "lr"'),
            (["--vary", "modell=lenet"], "unknown key"),
            (["--vary", "seed=1,2"], "run.seed is the same for all members"),
            (["--bag", "folds:1"], "must be none, bootstrap, subset:S with 0 < S < 1 or folds:K with K >= 2"),
            (["--bag", "folds:3", "--hold-share", "0.2"], "--hold-share must be 0 with --bag folds:K"),
            (["--split-seed", "3"], "the split of an ensemble hangs on --seed"),
        ]:
            self.refused(self.run_in(*self.words("wrong", *more)), 2, text)
            self.assertFalse((self.dir / "wrong").exists())
        self.refused(self.run_in(*self.words(self.whole, "--lr", "0.3")), 2, "optim.lr is its default there and 0.3 now")
        self.refused(self.run_in(*self.words(self.whole, members=4)), 2, "has 3 members, got --members 4; ballast ensemble add")
        self.refused(self.run_in("ensemble", "add", "none"), 3, "no ensemble: there is no plan.json in it")


if __name__ == "__main__":
    main()

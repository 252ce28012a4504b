"""Runs that are killed, stopped and continued, through the command line. Usage: resume_test.py PROGRAM

BALLAST_SLOW_TESTS: 150 kills instead of 20, 50 full disks instead of 5.
"""
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import support
from support import Case, ballast, environment, main, make_photos

SLOW = bool(os.environ.get("BALLAST_SLOW_TESTS"))
SEED = int(os.environ.get("BALLAST_TEST_SEED", "20260101"))
COMMON = ["--progress", "plain", "--no-tensorboard", "--threads", "1", "--log-every", "2", "--save-every", "3st", "--batch-size", "16"]
# The default recipe's model, and a ResNet-20 with every technique on.
CONFIGS = {
    "default": ["--epochs", "3", "--workers", "0"],
    "resnet20": ["--model", "resnet20", "--epochs", "2", "--workers", "2", "--drop", "0.1", "--drop-path", "0.2", "--drop-block", "0.1:3",
                 "--opt", "adamw", "--sched", "cosine", "--sched-cycles", "2", "--clip", "norm:1", "--micro-batch", "8", "--patience", "3",
                 "--stop-smooth", "1", "--augment-train", "rand-m9-n2 | random_crop(16, padding=2) | hflip", "--mixup", "0.2",
                 "--cutmix", "1", "--swa", "50%", "--also-monitor", "val/top1"],
    "mlp": ["--model", "mlp:1x16", "--epochs", "30", "--workers", "4", "--sched", "one_cycle", "--drop-connect", "0.2"],
    "bf16": ["--model", "mlp:1x16", "--epochs", "12", "--workers", "3", "--precision", "bf16", "--model-ema", "4st", "--drop", "0.2",
             "--mixup", "0.3"],
}


def digests(run):
    """Of everything that must be equal: weights, optimizer, state, record, predictions, tables."""
    run = pathlib.Path(run)
    last = max((run / "checkpoints").glob("step-*"))
    files = [p for folder in (last, run / "model", run / "predictions") for p in folder.iterdir()
             if p.name not in ("session.json", "MANIFEST.json")]
    files += [run / name for name in ("metrics.jsonl", "metrics.csv", "bad_samples.csv", "result.json")]
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


class WithPhotos(Case):
    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="ballast-resume-"))
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        make_photos(cls.home / "photos", count=40)

    def words(self, config, out):
        return ["train", "--data", self.home / "photos", "--out", out, *COMMON, *CONFIGS[config]]

    def start(self, words):
        child = subprocess.Popen([support.BALLAST, *map(str, words)], cwd=self.dir, env=environment(), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.kill)
        return child


class Killed(WithPhotos):
    def unbroken(self, config):
        begin = time.monotonic()
        result = self.run_in(*self.words(config, "whole-" + config))
        self.assertEqual(result.code, 0, result.err)
        return digests(self.dir / ("whole-" + config)), time.monotonic() - begin

    def test_kills_at_random_moments_leave_no_trace(self):
        draw = random.Random(SEED)
        kills_wanted = {"default": 40, "resnet20": 40, "mlp": 35, "bf16": 35} if SLOW else {"default": 6, "resnet20": 6, "mlp": 4, "bf16": 4}
        for config, wanted in kills_wanted.items():
            whole, seconds = self.unbroken(config)
            kills = runs = 0
            while kills < wanted:
                out = f"{config}-{runs}"
                for attempt in range(100):
                    child = self.start(self.words(config, out))
                    # From the start of the process to past its end; later attempts may live longer, so that each run ends.
                    try:
                        child.communicate(timeout=draw.uniform(0, seconds * (1.1 + 0.1 * attempt)))
                    except subprocess.TimeoutExpired:
                        child.send_signal(signal.SIGKILL)
                        child.communicate()
                        kills += 1
                        continue
                    self.assertEqual(child.returncode, 0, f"seed {SEED} {out}")
                    break
                else:
                    self.fail(f"{out} did not end")
                self.assertEqual(digests(self.dir / out), whole, f"seed {SEED}: {out} after {attempt} kills")
                runs += 1
                shutil.rmtree(self.dir / out)
            print(f"{config}: {kills} kills in {runs} runs, all equal", flush=True)

    def test_the_same_command_again_has_nothing_to_do(self):
        words = self.words("mlp", "run")
        self.assertEqual(self.run_in(*words).code, 0)
        before = digests(self.dir / "run")
        again = self.run_in(*words, "--json")
        self.assertEqual(again.code, 0, again.err)
        self.assertTrue(again.json()["was_finished"])
        self.assertEqual(digests(self.dir / "run"), before)
        self.assertIn("nothing is left to do", self.run_in(*words).out)


class Stopped(WithPhotos):
    def begun(self, *more, out="run", rows=3):
        """A run that will not end by itself, after its first rows."""
        child = self.start([*self.words("mlp", out), "--epochs", "100000", *more])
        record = self.dir / out / "metrics.jsonl"
        limit = time.monotonic() + 120
        while time.monotonic() < limit and not (record.exists() and record.read_text().count('"train"') >= rows):
            if child.poll() is not None:
                self.fail(child.communicate()[1].decode())
            time.sleep(0.01)
        return child

    def test_signals_save_and_name_the_way_on(self):
        for number, code in ((signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGHUP, 75)):
            out = f"run-{number}"
            child = self.begun(out=out)
            child.send_signal(number)
            err = child.communicate(timeout=60)[1].decode()
            self.assertEqual(child.returncode, code, err)
            self.assertIn(f"ballast train --resume {out} goes on", err)
            shorter = self.run_in("train", "--resume", out, "--epochs", "1", "--progress", "plain")
            self.assertEqual(shorter.code, 0, shorter.err)

    def test_grace_too_short_for_a_save_begins_none(self):
        child = self.begun("--grace", "1e-6s", out="short", rows=30)
        child.send_signal(signal.SIGTERM)
        err = child.communicate(timeout=60)[1].decode()
        self.assertEqual(child.returncode, 75, err)
        self.assertIn("longer than --grace", err)
        self.assertFalse((self.dir / "short/report.html").exists())
        self.assertEqual(self.run_in("train", "--resume", "short", "--epochs", "1", "--progress", "none").code, 0)

    def test_a_signal_in_the_first_second_does_no_harm(self):
        for delay in (0.02, 0.1, 0.3, 0.6):
            child = self.start(self.words("mlp", "early"))
            time.sleep(delay)
            child.send_signal(signal.SIGTERM)
            err = child.communicate(timeout=60)[1].decode()
            self.assertIn(child.returncode, (0, 75, -signal.SIGTERM), err)
        self.assertEqual(self.run_in(*self.words("mlp", "early")).code, 0)

    def test_usr1_saves_and_goes_on(self):
        child = self.begun("--save-every", "1h", "--keep-last", "50")
        time.sleep(0.3)
        before = {p.name for p in (self.dir / "run/checkpoints").glob("step-*")} if (self.dir / "run/checkpoints").exists() else set()
        child.send_signal(signal.SIGUSR1)
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            now = {p.name for p in (self.dir / "run/checkpoints").glob("step-*")}
            if now - before:
                break
            time.sleep(0.02)
        self.assertTrue(now - before)
        self.assertIsNone(child.poll())

    def test_resume_goes_on_with_changes(self):
        self.assertEqual(self.run_in(*self.words("mlp", "runs/a")).code, 0)
        result = self.run_in("train", "--resume", "last", "--epochs", "32", "--lr", "0.01", "--progress", "plain")
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("goes on", result.err)
        self.assertRegex(result.err, r"change +optim.lr .* -> 0.01")
        self.assertRegex((self.dir / "runs/a/config.toml").read_text(), r"lr = 0.01 +# edit at step \d+")
        rows = [json.loads(line) for line in (self.dir / "runs/a/metrics.jsonl").read_text().splitlines()]
        steps = [row["step"] for row in rows if row["kind"] == "train"]
        self.assertEqual(steps, sorted(set(steps)))
        self.refused(self.run_in("train", "--resume", "nothing"), 3, "nothing must be a run")
        self.refused(self.run_in("train", "--resume", "a", "--out", "b"), 2, "give one of them")

    def test_another_configuration_is_refused(self):
        self.assertEqual(self.run_in(*self.words("mlp", "run")).code, 0)
        result = self.run_in(*self.words("mlp", "run"), "--lr", "0.5")
        self.assertEqual(result.code, 2, result.err)
        self.assertIn("optim.lr", result.lines[-1])
        self.assertIn("--resume run", result.lines[-1])

    def test_two_at_once(self):
        child = self.begun()
        result = self.run_in(*self.words("mlp", "run"), "--epochs", "100000")
        self.assertEqual(result.code, 7, result.err)
        self.assertIn("process", result.lines[-1])
        child.kill()


class FullDisk(WithPhotos):
    # Two sessions of one command on a disk of its own: a small one, which is then made large.
    SHELL = """set -e
        mkdir small
        mount -t tmpfs -o size=$1k none "$PWD/small"
        home=$PWD
        shift
        cd small
        "$@" 2>"$home/first.err" >/dev/null && echo first 0 || echo first $?
        mount -o remount,size=256m "$home/small"
        tail -1 "$home/first.err"
        "$@" >/dev/null && echo second 0 || echo second $?
        cp -r run "$home/kept"
        """

    def test_a_disk_that_fills_up_costs_no_bit(self):
        words = self.words("mlp", "run")
        self.assertEqual(self.run_in(*words).code, 0)
        whole = digests(self.dir / "run")
        needed = sum(p.stat().st_size + 4096 for p in (self.dir / "run").rglob("*") if p.is_file()) / 1024
        disks = 50 if SLOW else 5
        filled = 0
        for i in range(disks):
            # From a disk that has no room for the first files to one that holds the run.
            size = int(8 * (1.3 * needed / 8) ** (i / (disks - 1)))
            shutil.rmtree(self.dir / "kept", ignore_errors=True)
            shutil.rmtree(self.dir / "small", ignore_errors=True)
            done = subprocess.run(["unshare", "-rm", "sh", "-c", self.SHELL, "sh", str(size), support.BALLAST, *map(str, words)], cwd=self.dir,
                                  env=environment(), capture_output=True, timeout=240)
            out, err = done.stdout.decode(), done.stderr.decode()
            if "mount:" in err or "unshare" in err:
                self.skipTest("no private mount here: " + err.strip())
            codes = dict(re.findall(r"^(first|second) (\d+)$", out, re.MULTILINE))
            self.assertIn(codes["first"], ("0", "6"), f"{size} KiB: {out}")
            if codes["first"] == "6":
                self.assertIn("No space left on device", out, f"{size} KiB")
                filled += 1
            self.assertEqual(codes["second"], "0", f"{size} KiB: {err}")
            self.assertEqual(digests(self.dir / "kept"), whole, f"{size} KiB: {err}")
            checked = self.run_in("fsck", "kept")
            self.assertEqual(checked.code, 0, f"{size} KiB: {checked.out}")
        print(f"{disks} disks, {filled} of them filled: all runs equal", flush=True)
        self.assertGreaterEqual(filled, disks // 2)


class Old(Case):
    GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/checkpoint_v1"

    def test_the_first_checkpoint_format_loads_for_ever(self):
        make_photos(self.dir / "photos", count=10)  # as golden/checkpoint_v1.py made them
        shutil.copytree(self.GOLDEN, self.dir / "run")
        old = (self.dir / "run/metrics.jsonl").read_text()
        done = self.run_in("train", "--resume", "run", "--epochs", "4", "--progress", "none", "--json")
        self.assertEqual(done.code, 0, done.err)
        result = done.json()
        self.assertEqual((result["epochs"], result["steps"]), (4, 12))
        self.assertEqual(result["plan"]["resumed_step"], 6)
        # It goes on behind the old rows, up to the decision that ended the run, and nothing is passed over.
        before = [line for line in old.splitlines() if '"kind":"train"' in line or '"split":"val"' in line]
        after = [line for line in (self.dir / "run/metrics.jsonl").read_text().splitlines() if line in before]
        self.assertEqual(after, before)
        self.assertNotIn("older checkpoint is taken", done.err)
        self.assertEqual(self.run_in("fsck", "run").code, 0)


class Verified(WithPhotos):
    SHORT = ["--data", "photos", "--model", "mlp:1x16", "--batch-size", "16", "--threads", "1", "--steps", "24"]

    def setUp(self):
        super().setUp()
        (self.dir / "photos").symlink_to(self.home / "photos")

    def test_verify_proves_equal_bits_and_names_a_difference(self):
        done = self.run_in("verify", *self.SHORT, "--model-ema", "4st", "--kills", "3", "--try-workers", "2", "--keep", "kept",
                           "--json", timeout=240)
        self.assertEqual(done.code, 0, done.err + done.out)
        report = done.json()
        self.assertTrue(report["same"])
        self.assertEqual([r["kills"] for r in report["runs"]], [3, 0])
        self.assertEqual(len(report["kills"]), 3)
        equal = self.run_in("compare", "kept/whole", "kept/killed")
        self.assertEqual(equal.code, 0, equal.out)
        self.assertIn("record: equal", equal.out)
        # A difference is found and named: step, field and tensor.
        record = self.dir / "kept/killed/metrics.jsonl"
        record.write_text(re.sub(r'("kind":"train","step":3,.*?"grad_norm":)[0-9.e-]+', r"\g<1>7.5", record.read_text(), count=1))
        weights = max((self.dir / "kept/killed/checkpoints").glob("step-*")) / "model.safetensors"
        flipped = bytearray(weights.read_bytes())
        flipped[-1] ^= 1
        weights.write_bytes(flipped)
        other = self.run_in("compare", "kept/whole", "kept/killed", "--json")
        self.assertEqual(other.code, 5, other.err)
        found = other.json()
        self.assertEqual(found["record"]["place"], "step 3, train: grad_norm")
        self.assertEqual(found["record"]["b"], "7.5")
        self.assertFalse(found["same"])
        self.assertEqual(len(found["differences"]), 1)
        self.assertEqual(found["differences"][0]["differing"], 1)

    def test_verify_refuses_what_promises_nothing(self):
        self.refused(self.run_in("verify", *self.SHORT, "--math", "fast"), 2, "must promise bits")
        self.refused(self.run_in("verify", "nothing"), 3, "nothing must be a run")

    def test_verify_stops_at_a_signal_and_leaves_nothing(self):
        child = self.start(["verify", *self.SHORT])
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
        self.assertEqual(child.returncode, 130)

    def test_lr_find(self):
        done = self.run_in("lr-find", *self.SHORT[:-2], "--from", "1e-4", "--to", "1e4", "--steps", "60", "--json")
        self.assertEqual(done.code, 0, done.err)
        found = done.json()
        rates = [p["lr"] for p in found["points"]]
        self.assertAlmostEqual(rates[1] / rates[0], 1e8 ** (1 / 59))
        self.assertLess(found["steepest"], rates[-1])
        self.assertIn("<svg", (self.dir / "lr-find.html").read_text())
        self.assertFalse((self.dir / "runs").exists())
        self.assertIn("--lr", self.run_in("lr-find", *self.SHORT[:-2], "--steps", "20", "--page", "none").out)
        self.refused(self.run_in("lr-find", "--from", "1", "--to", "0.1"), 2, "to must be above from")

    def test_overfit(self):
        done = self.run_in("train", *self.SHORT[:-2], "--overfit", "--json")
        self.assertEqual(done.code, 0, done.err)
        self.assertTrue(done.json()["passed"])
        hopeless = self.run_in("train", *self.SHORT[:-2], "--overfit", "2", "--lr", "1e-9")
        self.assertEqual(hopeless.code, 4)
        self.assertIn("suspect   the loss did not move", hopeless.out)
        self.assertFalse((self.dir / "runs").exists())


class Chosen(WithPhotos):
    def test_swa_is_the_model_and_its_check_is_recorded(self):
        done = self.run_in(*self.words("mlp", "run"), "--epochs", "4", "--model", "resnet8", "--swa", "50%", "--swa-lr", "0.01", "--json")
        self.assertEqual(done.code, 0, done.err)
        rows = [json.loads(line) for line in (self.dir / "run/metrics.jsonl").read_text().splitlines()]
        [swa] = [row for row in rows if row.get("split") == "val_swa"]
        self.assertAlmostEqual(done.json()["val"]["loss"], swa["loss"])
        [told] = [row for row in rows if row.get("what") == "swa"]
        self.assertEqual(told["reason"], "2 averaged")
        self.assertEqual({row["lr"] for row in rows if row["kind"] == "train"} & {0.01}, {0.01})
        self.refused(self.run_in(*self.words("mlp", "x"), "--swa", "--model-ema", "5st"), 2, "give one of them")

    def test_batch_statistics_are_estimated_anew_for_the_saved_model(self):
        tensors = {}
        for name, flags in (("kept", []), ("anew", ["--reestimate", "3"])):
            done = self.run_in(*self.words("mlp", name), "--epochs", "1", "--model", "resnet8", "--batch-size", "2", "--json", *flags)
            self.assertEqual(done.code, 0, done.err)
            data = (self.dir / name / "model/model.safetensors").read_bytes()
            length = int.from_bytes(data[:8], "little")
            tensors[name] = {key: data[8 + length + t["data_offsets"][0]:8 + length + t["data_offsets"][1]]
                             for key, t in json.loads(data[8:8 + length]).items() if key != "__metadata__"}
        differ = {key for key in tensors["kept"] if tensors["kept"][key] != tensors["anew"][key]}
        self.assertEqual(differ, {key for key in tensors["kept"] if key.endswith(("running_mean", "running_var"))})
        rows = [json.loads(line) for line in (self.dir / "anew/metrics.jsonl").read_text().splitlines()]
        [check] = [row for row in rows if row.get("split") == "val_reestimated"]
        self.assertAlmostEqual(done.json()["val"]["loss"], check["loss"])
        self.refused(self.run_in(*self.words("mlp", "x"), "--swa", "--reestimate", "3"), 2, "leave out average.reestimate")
        none = self.run_in(*self.words("mlp", "none"), "--epochs", "1", "--reestimate", "3")
        self.assertIn("average.reestimate changes nothing: mlp:1x16 keeps no batch statistics", none.err)

    def test_portable_and_repeatable_have_their_own_fingerprints(self):
        prints = {}
        for level in ("fast", "repeatable", "portable"):
            done = self.run_in(*self.words("mlp", level), "--epochs", "2", "--math", level, "--json")
            self.assertEqual(done.code, 0, done.err)
            prints[level] = done.json()["plan"]["fingerprint"]
        self.assertEqual(len(set(prints.values())), 3)
        again = self.run_in(*self.words("mlp", "again"), "--epochs", "2", "--math", "portable", "--json",
                            env=environment(ATEN_CPU_CAPABILITY="default", DNNL_MAX_CPU_ISA="AVX512_CORE"))
        self.assertEqual(again.json()["plan"]["fingerprint"], prints["portable"])
        self.assertEqual(digests(self.dir / "again"), digests(self.dir / "portable"))

    def test_runs_are_listed_sorted_and_filtered(self):
        for name, lr in (("a", "0.001"), ("b", "0.05")):
            self.assertEqual(self.run_in(*self.words("mlp", "runs/" + name), "--epochs", "3", "--lr", lr).code, 0)
        listed = self.run_in("list", "runs", "--sort", "date", "--json").json()
        self.assertEqual([row["folder"] for row in listed], ["runs/b", "runs/a"])
        best = self.run_in("list", "runs", "--sort", "val", "--json").json()
        self.assertGreaterEqual(best[0]["val_top1"], best[1]["val_top1"])
        self.assertEqual([row["folder"] for row in self.run_in("list", "runs", "--filter", "optim.lr=0.05", "--json").json()], ["runs/b"])
        self.refused(self.run_in("list", "runs", "--filter", "optim.l=0.05"), 2, 'unknown key "optim.l"; did you mean "optim.lr"?')
        self.assertIn("no run matches", self.run_in("list", "runs", "--filter", "unfinished").out)


class Exported(WithPhotos):
    def test_every_format_is_written_and_checked(self):
        self.assertEqual(self.run_in(*self.words("mlp", "run"), "--model", "resnet8", "--epochs", "1").code, 0)
        for kind in ("torchscript", "onnx", "pt", "timm"):
            done = self.run_in("export", "run", "out." + kind, "--format", kind, "--json")
            self.assertEqual(done.code, 0, done.err)
            self.assertLess(done.json()["difference"], 1e-4)
            self.assertTrue((self.dir / ("out." + kind)).exists())
        self.refused(self.run_in("export", "run", "out.pt", "--format", "pt"), 2, "is there already")
        # TorchScript and .pt hold the weights of the run, bit for bit.
        for file in ("out.pt", "out.timm"):
            self.assertEqual(self.run_in("compare", "run/model", file).code, 0, file)
        # A script has no use for the counters of batch norm.
        for difference in self.run_in("compare", "run/model", "out.torchscript", "--json").json()["differences"]:
            self.assertTrue(difference["name"].endswith("num_batches_tracked"), difference)

    def test_recurrent_nets(self):
        for model in ("rnn:plain:16", "rnn:lstm:16", "rnn:gru:16"):
            run = model.replace(":", "-")
            done = self.run_in(*self.words("mlp", run), "--model", model, "--epochs", "1")
            self.assertEqual(done.code, 0, done.err)
            for kind in ("torchscript", "onnx"):
                done = self.run_in("export", run, f"{run}.{kind}", "--format", kind, "--json")
                self.assertEqual(done.code, 0, done.err)
                self.assertLess(done.json()["difference"], 1e-4)


class Looked(WithPhotos):
    def test_what_if(self):
        self.assertEqual(self.run_in(*self.words("mlp", "runs/a")).code, 0)
        result = self.run_in("what-if", "a", "--patience", "1,3", "--min-delta", "0,100", "--json")
        self.assertEqual(result.code, 0, result.err)
        rows = result.json()["rows"]
        self.assertEqual(len(rows), 4)
        # Nothing improves by 100: the first check is the reference, the p-th after it stops.
        self.assertEqual([r["stop_check"] for r in rows if r["min_delta"] == 100], [2, 4])
        self.assertAlmostEqual(rows[1]["saved"], 1 - 2 / 30)
        self.assertIn("steps saved", self.run_in("what-if", "runs/a").out)
        self.refused(self.run_in("what-if", "a", "--patience", "0"), 2, "must be a whole number")
        self.refused(self.run_in("what-if", "none"), 3, "none must be a run")

    def test_fsck_finds_and_repairs(self):
        self.assertEqual(self.run_in(*self.words("mlp", "run")).code, 0)
        whole = self.run_in("fsck", "run")
        self.assertEqual(whole.code, 0, whole.out)
        self.assertIn("nothing is wrong", whole.out)
        newest = max((self.dir / "run/checkpoints").glob("step-*"))
        weights = newest / "model.safetensors"
        flipped = bytearray(weights.read_bytes())
        flipped[-3] ^= 4
        weights.write_bytes(flipped)
        (self.dir / "run/.config.toml.tmp-1-2").write_text("x")
        with open(self.dir / "run/timing.jsonl", "a") as log:
            log.write('{"step": 7, "da')
        found = self.run_in("fsck", "run", "--json")
        self.assertEqual(found.code, 5)
        texts = " ".join(row["what"] for row in found.json()["findings"])
        for text in ("SHA-256 differs", "interrupted write", "cut line", "names another than the newest"):
            self.assertIn(text, texts)
        repaired = self.run_in("fsck", "run", "--repair")
        self.assertEqual(repaired.code, 0, repaired.out)
        self.assertTrue((self.dir / "run/checkpoints/quarantine" / newest.name).is_dir())
        self.assertTrue(list((self.dir / "run/lost").iterdir()))
        self.assertEqual(self.run_in("fsck", "run").code, 0)
        for folder in (self.dir / "run/checkpoints").glob("step-*"):
            (folder / "state.json").write_text("{}")
        self.assertEqual(self.run_in("fsck", "run").code, 3)


if __name__ == "__main__":
    main()

"""Commands that run models: training, interruption, faults of storage, prediction. Usage: runs_test.py PROGRAM"""
import csv
import io
import json
import math
import os
import pathlib
import pty
import re
import resource
import select
import signal
import shutil
import subprocess
import tempfile
import tarfile
import time
import unittest

import support
from support import QUICK, Case, ballast, environment, main, make_photos, png


class WithRun(Case):
    """Tests that share one trained run."""

    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="ballast-cli-"))
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        make_photos(cls.home / "photos", count=24)
        cls.trained = ballast("train", "--data", "photos", "--name", "first", "--json", *QUICK, cwd=cls.home)

    def here(self, *words, **more):
        return ballast(*words, cwd=self.home, **more)

    def setUp(self):
        super().setUp()
        self.assertEqual(self.trained.code, 0, self.trained.err)


class Drop(WithRun):
    """Every row of the drop catalog trains, and changes what a run without it learns."""

    PLACES = {  # a small model that has a place for the technique, and a value
        "dropout": ("mlp:1x16", "--drop", "0.3"),
        "spatial_dropout": ("plain_cnn:3x4", "--spatial-dropout", "0.3"),
        "alpha_dropout": ("mlp:1x16", "--alpha-dropout", "0.1"),
        "drop_connect": ("mlp:1x16", "--drop-connect", "0.5"),
        "drop_block": ("plain_cnn:3x4", "--drop-block", "0.2:3"),
        "drop_path": ("resnet8", "--drop-path", "0.5"),
        "patch_dropout": ("vit_tiny", "--patch-dropout", "0.5"),
        "shake_drop": ("resnet8", "--shake-drop", "0.5"),
    }

    def weights(self, model, *flags):
        """The bytes of the weights after 20 steps of 16 pictures."""
        name = "-".join([self.id().split(".")[-1], model, *flags]).replace(":", "_").replace("--", "")
        result = self.here("train", "--data", "photos", "--name", name, "--json", "--model", model, "--epochs", "5", "--batch-size",
                           "16", "--threads", "1", "--workers", "0", "--progress", "plain", "--no-tensorboard", "--eval-every", "5ep",
                           *(["--limit", "12", "--epochs", "1"] if model == "vit_tiny" else []),  # five million weights
                           *flags, timeout=300)
        self.assertEqual(result.code, 0, result.err)
        return (self.home / "runs" / name / "model" / "model.safetensors").read_bytes()

    def test_every_row_of_the_catalog_changes_the_run(self):
        rows = self.here("list", "drop", "--json").json()
        self.assertEqual({row["name"] for row in rows}, set(self.PLACES))
        without = {}
        for row in rows:
            model, flag, value = self.PLACES[row["name"]]
            self.assertEqual(flag, row["flag"])
            if model not in without:
                without[model] = self.weights(model)
            self.assertNotEqual(self.weights(model, flag, value), without[model], row["name"])

    def test_a_run_with_masks_repeats_and_another_seed_differs(self):
        drops = ["--drop-block", "0.2:3", "--spatial-dropout", "0.2", "--drop", "0.2"]
        first = self.weights("plain_cnn:3x4", *drops)
        self.assertEqual(self.weights("plain_cnn:3x4", *drops, "--seed", "0"), first)
        self.assertNotEqual(self.weights("plain_cnn:3x4", *drops, "--seed", "1"), first)

    def test_a_model_without_a_place_says_so(self):
        result = self.here("train", "--data", "photos", *QUICK, "--drop-path", "0.2")
        self.assertEqual(result.code, 2, result.err)
        self.assertIn("[drop_path] mlp:1x16 must have a place for it", result.err)

    def test_inspect_tells_where_it_drops(self):
        result = self.here("inspect", "resnet20", "--drop-path", "0.4:batch", "--drop-block", "0.1:5", "--drop", "0.2",
                           "--input", "3x32x32", "--json").json()
        places = {row["name"]: row for row in result["drops"]}
        self.assertEqual(places["layer3.2.drop_path"]["p"], 0.4)
        self.assertNotIn("layer1.0.drop_path", places)  # the first block's rate is 0
        self.assertEqual(places["layer2.0.drop_block1"]["technique"], "drop_block")
        self.assertNotIn("layer1.0.drop_block1", places)
        self.assertEqual(places["drop"]["technique"], "dropout")
        self.assertIn("layer3.2.drop_path: drop_path, p 0.4",
                      self.here("inspect", "resnet20", "--drop-path", "0.4", "--input", "3x32x32").out)

    def test_rates_by_name(self):
        drops = ["--drop-path", "0.4", "--drop-rate", "layer2.*=0.25,layer3.0.*=0"]
        places = {row["name"]: row["p"] for row in self.here("inspect", "resnet20", *drops, "--input", "3x32x32", "--json").json()["drops"]}
        self.assertEqual((places["layer2.1.drop_path"], places["layer3.0.drop_path"], places["layer3.2.drop_path"]), (0.25, 0, 0.4))
        self.assertNotEqual(self.weights("resnet8", "--drop-path", "0.5", "--drop-rate", "layer3.*=0"), self.weights("resnet8", "--drop-path", "0.5"))
        for value, text in (("layer9.*=0.1", "[drop_rate] layer9.* must match a layer that drops, got none; there are layer2.0.drop_path"),
                            ("layer3=2", "a rule must have the form GLOB=P with P in [0, 1], got \"layer3=2\"")):
            result = self.here("train", "--data", "photos", "--model", "resnet8", "--drop-path", "0.5", "--drop-rate", value, "--dry-run")
            self.assertEqual(result.code, 2, result.err)
            self.assertIn(text, result.err)

    def test_the_preview_shows_masks_of_each_kind(self):
        result = self.here("drop", "preview", "--p", "0.3", "--out", "masks.png", "--json")
        self.assertEqual(result.code, 0, result.err)
        shares = {row["technique"]: row["dropped"] for row in result.json()["rows"]}
        self.assertAlmostEqual(shares["dropout"], 0.3, delta=0.05)
        self.assertAlmostEqual(shares["drop_connect"], 0.3, delta=0.05)
        self.assertEqual((self.home / "masks.png").read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    def test_losses_can_be_chosen(self):
        plain = self.weights("mlp:1x16")
        for flags in (["--loss", "bce"], ["--loss", "focal"], ["--loss", "focal", "--focal-gamma", "1"]):
            other = self.weights("mlp:1x16", *flags)
            self.assertNotEqual(other, plain)


class Train(WithRun):
    def test_result_is_one_json_document_and_the_plan_comes_first(self):
        result = self.trained.json()
        self.assertEqual(result["reason"], "completed")
        self.assertEqual(result["epochs"], 2)
        self.assertEqual(result["folder"], "runs/first")
        self.assertGreater(result["val"]["top1"], 0.5)
        self.assertIn("top1", result["test"])
        self.assertEqual(result["plan"]["classes"], ["cat", "dog", "owl"])
        self.assertGreater(result["plan"]["seconds_estimate"], 0)
        self.assertIn("plan\n", self.trained.err)
        self.assertRegex(self.trained.err, r"time +about .* on this machine")

    def test_the_run_folder_is_whole(self):
        run = self.home / "runs" / "first"
        for name in ("config.toml", "env.json", "metrics.jsonl", "timing.jsonl", "events.jsonl", "metrics.csv", "split.csv",
                     "report.html", "model/model.safetensors", "model/config.json"):
            self.assertTrue((run / name).is_file(), name)
        self.assertTrue(list(run.glob("checkpoints/step-*/model.safetensors")))
        for line in (run / "metrics.jsonl").read_text().splitlines():
            json.loads(line)
        self.assertRegex((run / "config.toml").read_text(), r"epochs = 2  # flag")
        leftovers = [p.name for p in run.rglob("*") if ".tmp" in p.name or ".part" in p.name]
        self.assertEqual(leftovers, [])

    def test_the_configuration_of_a_run_is_read_again(self):
        result = self.here("config", "render", "--config", "runs/first/config.toml", "--json")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.json()["train.epochs"]["value"], 2)

    def test_an_existing_run_is_not_overwritten(self):
        before = (self.home / "runs/first/model/model.safetensors").read_bytes()
        result = self.here("train", "--data", "photos", "--name", "first", *QUICK, "--seed", "5")
        self.refused_with_plan(result, 2, "--overwrite")
        self.assertEqual((self.home / "runs/first/model/model.safetensors").read_bytes(), before)

    def refused_with_plan(self, result, code, text):
        self.assertEqual(result.code, code, result.err)
        last = result.lines[-1]
        self.assertTrue(last.startswith("ballast: "), result.err)
        self.assertIn(text, last)

    def test_a_loss_that_is_not_finite_ends_the_run(self):
        result = self.run_in("train", "--data", self.home / "photos", "--out", "run", "--lr", "1e30", *QUICK)
        self.refused_with_plan(result, 4, "the loss must be finite")
        self.assertTrue(list((self.dir / "run/nonfinite").glob("step-*/report.json")))

    def test_dry_run_leaves_nothing(self):
        result = self.run_in("train", "--data", self.home / "photos", "--dry-run", *QUICK)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("plan\n", result.err)
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_same_command_same_weights_for_any_number_of_workers(self):
        words = ["train", "--data", self.home / "photos", *QUICK, "--augment-train", "random_crop(16, padding=2) | hflip"]
        files = []
        for n, workers in enumerate(("0", "2")):
            result = self.run_in(*words, "--workers", workers, "--out", f"run{n}")
            self.assertEqual(result.code, 0, result.err)
            files.append((self.dir / f"run{n}" / "model" / "model.safetensors").read_bytes())
        self.assertEqual(files[0], files[1])

    def test_the_last_epochs_get_crop_and_flip_only(self):
        (self.dir / "a.toml").write_text('[augment]\noff_last = 1\n[[augment.train]]\nop = "random_crop"\nsize = 16\npadding = 2\n'
                                         '[[augment.train]]\nop = "hue"\nfactor = [0.1, 0.2]\n')
        words = ["train", "--data", self.home / "photos", *QUICK, "--config", "a.toml", "--out", "late"]
        result = self.run_in(*words)
        self.assertEqual(result.code, 0, result.err)
        steps = [[row["step"] for row in self.run_in("augment", "show", "--run", "late", "--epoch", epoch, "--index", "3", "--json").json()["drawn"]]
                 for epoch in ("0", "1")]
        self.assertEqual(steps, [["crop", "hue"], ["crop"]])
        self.refused(self.run_in("train", "--data", self.home / "photos", *QUICK, "--augment-train", "random_crop(16) | jiter(1)"), 2,
                     'did you mean "jitter"?')

    def test_same_weights_from_every_form_of_the_data(self):
        photos = make_photos(self.dir / "photos", count=60)
        (photos / "dog/001.png").write_bytes(b"no picture")
        self.assertEqual(self.run_in("pack", "photos", "photos.bpk").code, 0)
        with tarfile.open(self.dir / "photos.tar", "w") as archive:
            archive.add(photos, "photos")
        files = []
        for form in ("photos", "photos.bpk", "photos.tar"):
            result = self.run_in("train", "--data", form, "--out", "run-" + form, "--augment-train", "random_crop(16, padding=2) | hflip",
                                 "--on-bad", "substitute", *QUICK)
            self.assertEqual(result.code, 0, result.err)
            files.append((self.dir / ("run-" + form) / "model" / "model.safetensors").read_bytes())
        self.assertEqual(files[0], files[1])
        self.assertEqual(files[0], files[2])

    def test_missing_and_empty_data(self):
        self.refused(self.run_in("train", "--data", "nothing-here", *QUICK), 3, "nothing-here")
        make_photos(self.dir / "photos")
        (self.dir / "photos" / "zebra").mkdir()
        self.refused(self.run_in("train", "--data", "photos", *QUICK), 3, "zebra")
        self.assertFalse((self.dir / "runs").exists())

    def test_a_broken_picture_names_itself_and_the_run_goes_on(self):
        make_photos(self.dir / "photos", count=60)
        whole = (self.dir / "photos/dog/001.png").read_bytes()
        (self.dir / "photos/dog/001.png").write_bytes(whole[: len(whole) // 2])
        result = self.run_in("train", "--data", "photos", "--out", "run", "--json", *QUICK)
        self.assertEqual(result.code, 0, result.err)
        self.assertGreaterEqual(result.json()["bad_samples"], 1)
        self.assertIn("dog/001.png", (self.dir / "run/bad_samples.csv").read_text())
        stopped = self.run_in("train", "--data", "photos", "--out", "run2", "--on-bad", "stop", *QUICK)
        self.assertEqual(stopped.code, 3, stopped.err)
        self.assertIn("dog/001.png", stopped.lines[-1])

    def test_max_time_ends_in_time_with_the_best_weights(self):
        start = time.monotonic()
        result = self.run_in("train", "--data", self.home / "photos", *QUICK, "--epochs", "100000", "--max-time", "4s",
                             "--out", "run", "--json")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.json()["reason"], "max_time")
        self.assertLess(time.monotonic() - start, 60)
        self.assertTrue((self.dir / "run/model/model.safetensors").is_file())


class Interrupted(WithRun):
    def start(self, *words):
        child = subprocess.Popen([support.BALLAST, "train", "--data", str(self.home / "photos"), *QUICK, "--epochs", "1000000",
                                  "--out", "run", *words], cwd=self.dir, env=environment(), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.kill)
        record = self.dir / "run" / "metrics.csv"
        jsonl = self.dir / "run" / "metrics.jsonl"
        limit = time.monotonic() + 60
        while time.monotonic() < limit and not (jsonl.exists() and '"check"' in jsonl.read_text()):
            if child.poll() is not None:
                self.fail(child.communicate()[1].decode() + str(record))
            time.sleep(0.02)
        return child

    def check_stop(self, number, code):
        child = self.start()
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
        self.assertEqual(child.returncode, code, err.decode())
        lines = [line for line in err.decode().splitlines() if line.startswith("ballast: ")]
        self.assertTrue(any("stopped by" in line for line in lines), err.decode())
        run = self.dir / "run"
        self.assertTrue((run / "model/model.safetensors").is_file(), "the best weights were kept")
        self.assertEqual([p.name for p in run.rglob("*") if ".tmp" in p.name], [])
        self.assertEqual(ballast("inspect", "run", cwd=self.dir).code, 0)

    def test_ctrl_c_in_an_epoch(self):
        self.check_stop(signal.SIGINT, 130)

    def test_sigterm(self):
        self.check_stop(signal.SIGTERM, 75)


class Storage(WithRun):
    def test_a_disk_without_room(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        result = self.run_in("train", "--data", self.home / "photos", *QUICK, "--out", "run", preexec_fn=limit,
                             restore_signals=False)
        self.assertEqual(result.code, 6, result.err)
        self.assertTrue(result.lines[-1].startswith("ballast: "), result.err)
        self.assertIn("run", result.lines[-1])
        for path in self.dir.rglob("model.safetensors"):
            self.assertGreater(path.stat().st_size, 4096, "half-written weights under their final name")

    def test_folders_that_cannot_be_written(self):
        result = self.run_in("train", "--data", self.home / "photos", *QUICK, "--out", "/proc/ballast/run")
        self.assertEqual(result.code, 6, result.err)
        self.assertIn("/proc/ballast", result.lines[-1])
        (self.dir / "file").write_text("x")
        result = self.run_in("train", "--data", self.home / "photos", *QUICK, "--out", "file/run")
        self.assertEqual(result.code, 6, result.err)
        result = self.run_in("report", self.home / "runs/first", "--out", "/proc/version")
        self.assertEqual(result.code, 6, result.err)
        if os.geteuid() != 0:
            (self.dir / "closed").mkdir(mode=0o500)
            result = self.run_in("train", "--data", self.home / "photos", *QUICK, "--out", "closed/run")
            self.assertEqual(result.code, 6, result.err)

    def test_a_read_only_file(self):
        result = self.here("eval", "runs/first", "--predictions", "/proc/version")
        self.assertEqual(result.code, 6, result.err)
        self.assertIn("/proc/version", result.lines[-1])


class Use(WithRun):
    def test_eval(self):
        result = self.here("eval", "runs/first", "--json")
        self.assertEqual(result.code, 0, result.err)
        document = result.json()
        self.assertEqual(document["n"], sum(c["support"] for c in document["per_class"]))
        self.assertAlmostEqual(document["top1"], self.trained.json()["test"]["top1"], places=12)
        other = self.here("eval", "runs/first/model", "photos", "--split", "train")
        self.assertEqual(other.code, 0, other.err)
        self.assertIn("top1", other.out)
        self.refused(self.here("eval", "runs/none"), 3, "runs/none")
        self.refused(self.here("eval", "runs/first", "--split", "tset"), 2, 'did you mean "test"?')

    def test_views_of_pictures_are_averaged(self):
        result = self.here("train", "--data", "photos", *QUICK, "--out", "runs/cropped", "--augment-train", "resize(16) | random_crop(12)",
                           "--augment-eval", "resize(16) | center_crop(12)", "--mixup", "0.4", "--cutmix", "1")
        self.assertEqual(result.code, 0, result.err)
        # What mixing did stands in the record.
        checks = [row for row in map(json.loads, (self.home / "runs/cropped/metrics.jsonl").read_text().splitlines())
                  if row["kind"] == "check" and row["split"] == "val"]
        self.assertEqual(len(checks), 2)
        for row in checks:
            self.assertTrue(0 < row["mix.mixed"] <= 1 and 0 <= row["mix.lambda"] < 1 and 0 <= row["mix.label_entropy"] <= math.log(2))
        plain = self.here("eval", "runs/cropped", "--json").json()
        self.assertEqual(plain["views"], 1)
        same = self.here("eval", "runs/cropped", "--json", "--tta", "identity").json()
        self.assertEqual(same["loss"], plain["loss"])
        twice = self.here("eval", "runs/cropped", "--json", "--tta", "identity,identity").json()
        self.assertAlmostEqual(twice["loss"], plain["loss"], places=5)
        losses = [plain["loss"]]
        for views, count in [("five_crop", 5), ("ten_crop", 10), ("identity,hflip,shift:1,five_crop", 11)]:
            result = self.here("eval", "runs/cropped", "--json", "--tta", views)
            self.assertEqual(result.code, 0, result.err)
            self.assertEqual(result.json()["views"], count)
            self.assertEqual(result.json()["n"], plain["n"])
            losses.append(result.json()["loss"])
        self.assertEqual(len(set(losses)), 4, "other views give other figures")
        # eval and predict average alike.
        table = self.here("eval", "runs/cropped", "--split", "test", "--tta", "ten_crop")
        self.assertIn("views     10 a picture", table.out)
        rows = [line.split(",") for line in (self.home / "runs/cropped/split.csv").read_text().splitlines()[1:]]
        files = ["photos/" + row[1] for row in rows if row[2] == "test"]
        got = self.here("predict", "runs/cropped", *files, "--json", "--tta", "ten_crop", "--topk", "3").json()["predictions"]
        loss = -sum(math.log(next(t["probability"] for t in p["top"] if t["class"] == f.split("/")[1])) for p, f in zip(got, files))
        self.assertAlmostEqual(loss / len(files), losses[2], places=4)
        self.refused(self.here("eval", "runs/cropped", "--tta", "five_crop", "--mc", "2"), 2, "tta and mc exclude each other")
        self.refused(self.here("train", "--data", "photos", *QUICK, "--out", "runs/no", "--augment-eval", "resize(16) | five_crop(12)",
                               "--augment-train", "random_crop(12)"), 2, "five_crop and ten_crop go with eval --tta and predict --tta")

    def test_a_random_step_does_not_evaluate(self):
        self.refused(self.here("train", "--data", "photos", *QUICK, "--out", "runs/no", "--augment-eval", "resize(16) | random_crop(12)",
                               "--augment-train", "random_crop(12)"), 2, 'got "random_crop(12)", which draws; it belongs to augment.train')
        self.assertFalse((self.home / "runs/no").exists())

    def test_eval_without_a_test_part(self):
        result = self.here("train", "--data", "photos", *QUICK, "--out", "runs/untested", "--data.split.test", "0")
        self.assertEqual(result.code, 0, result.err)
        result = self.here("eval", "runs/untested", "--json")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.json()["split"], "val")
        self.assertIn("no test part", result.err)
        self.refused(self.here("eval", "runs/untested", "--split", "test"), 3, "got test, which is empty")

    def test_predict_table_csv_json(self):
        files = ["photos/cat/000.png", "photos/dog"]
        table = self.here("predict", "runs/first", *files)
        self.assertEqual(table.code, 0, table.err)
        self.assertIn("photos/cat/000.png", table.out)
        rows = list(csv.DictReader(io.StringIO(self.here("predict", "runs/first", *files, "--format", "csv", "--topk", "2").out)))
        self.assertEqual(len(rows), 25)
        self.assertIn("class2", rows[0])
        self.assertNotIn("class3", rows[0])
        document = self.here("predict", "runs/first", *files, "--format", "json", "--logits").json()
        self.assertEqual(document["classes"], ["cat", "dog", "owl"])
        for one, row in zip(document["predictions"], rows):
            self.assertEqual(one["file"], row["file"])
            self.assertEqual(one["top"][0]["class"], row["class1"])
            self.assertEqual(len(one["logits"]), 3)
            self.assertAlmostEqual(sum(t["probability"] for t in one["top"]), 1, places=5)
        self.assertEqual(self.here("predict", "runs/first", *files, "--json").json(),
                         self.here("predict", "runs/first", *files, "--format", "json").json())

    def test_predict_divides_by_the_temperature_of_calibrate(self):
        shutil.copytree(self.home / "runs/first", self.dir / "first")
        self.assertEqual(self.run_in("calibrate", "first", "--predictions", "first/predictions/test.safetensors").code, 0)
        config = self.dir / "first/model/config.json"
        card = json.loads(config.read_text())
        self.assertGreater(card["ballast"]["temperature"], 0)
        card["ballast"]["temperature"] = 4.0
        config.write_text(json.dumps(card))
        photo = self.home / "photos/cat/000.png"
        for row in self.run_in("predict", "first", photo, "--json", "--logits").json()["predictions"]:
            weights = [math.exp(z / 4) for z in row["logits"]]
            best = max(weights) / sum(weights)
            self.assertAlmostEqual(row["top"][0]["probability"], best, places=5)
        card["ballast"]["temperature"] = 0
        config.write_text(json.dumps(card))
        self.refused(self.run_in("predict", "first", photo), 3, "temperature of config.json must be above 0, got 0")

    def test_predict_globs_and_broken_files(self):
        (self.dir / "a.png").write_bytes((self.home / "photos/cat/000.png").read_bytes())
        (self.dir / "b.png").write_text("no picture")
        result = self.run_in("predict", self.home / "runs/first", "*.png", "--json")
        self.assertEqual(result.code, 3)
        first, second = result.json()["predictions"]
        self.assertEqual(first["file"], "a.png")
        self.assertIn("error", second)
        self.assertEqual(len(result.lines), 1)
        self.assertIn("b.png", result.lines[0])
        self.refused(self.run_in("predict", self.home / "runs/first", "c.png"), 3, "c.png: no such file")
        self.refused(self.run_in("predict", self.home / "runs/first", "*.gif"), 3, "nothing matches")

    def test_min_confidence_marks_the_unsure_and_sort_never_overwrites(self):
        words = ["predict", "runs/first", "photos", "--json", "--sort-into", str(self.dir / "out")]
        for _ in range(2):
            result = self.here(*words)
            self.assertEqual(result.code, 0, result.err)
        copies = [p for p in (self.dir / "out").rglob("*") if p.is_file()]
        self.assertEqual(len(copies), 144, "72 pictures, twice, each under a name of its own")
        for one in result.json()["predictions"]:
            copied = pathlib.Path(one["sorted"])
            self.assertEqual(copied.read_bytes(), (self.home / one["file"]).read_bytes())
            self.assertEqual(copied.parent.name, one["top"][0]["class"])
        unsure = self.here("predict", "runs/first", "photos", "--min-confidence", "1", "--sort-into", self.dir / "two")
        self.assertIn("(unsure)", unsure.out)
        self.assertEqual(len(list((self.dir / "two" / "unsure").iterdir())), unsure.out.count("(unsure)"))

    def test_inspect(self):
        layers = self.here("inspect", "resnet18", "--input", "3x224x224", "--json").json()
        self.assertEqual(layers["parameters"], 11689512)
        self.assertEqual(layers["layers"][0]["output"], [64, 112, 112])
        self.assertIn("layer1.0.conv1", self.here("inspect", "resnet18").out)
        tensors = self.here("inspect", "runs/first", "--json").json()["tensors"]
        self.assertTrue(all(t["nonfinite"] == 0 for t in tensors))
        broken = self.dir / "x.safetensors"
        broken.write_bytes(b"\xff" * 20)
        self.refused(self.here("inspect", broken), 3, str(broken))
        self.refused(self.here("inspect", "resnet18", "--input", "224"), 2, "3x224x224")
        self.refused(self.here("inspect", "none.safetensors"), 3, "none.safetensors")

    def test_probe_names_what_is_wrong_with_a_start(self):
        words = ["probe", "--data", "photos", "--image-size", "16", "--batch-size", "16", "--threads", "1", "--workers", "0"]
        page = self.dir / "probe.html"
        sick = self.here(*words, "--model", "plain_cnn:12", "--init", "torch", "--page", page, "--json")
        self.assertEqual(sick.code, 0, sick.err)
        found = sick.json()
        self.assertEqual(found["verdict"], "vanishing", found)
        self.assertEqual(found["level"], "error")
        self.assertTrue(found["layer"].startswith("layers."), found["layer"])
        self.assertEqual(found["cure"], "he")
        self.assertEqual([layer["name"] for layer in found["layers"]][-1], "fc")
        self.assertEqual(len(found["layers"]), 12)
        self.assertIn("Against depth", page.read_text())
        # The words of a healthy one; nothing is written without a page.
        healthy = self.here(*words, "--model", "plain_cnn:12", "--init", "he", "--page", "none")
        self.assertEqual(healthy.code, 0, healthy.err)
        self.assertIn("healthy: ", healthy.out)
        self.assertIn("\u2588", healthy.out)
        self.assertNotIn("page:", healthy.out)
        self.assertFalse((self.home / "probe.html").exists())

    def test_probe_lays_starts_over_each_other(self):
        page = self.dir / "compare.html"
        result = self.here("probe", "--data", "photos", "--image-size", "16", "--batch-size", "16", "--threads", "1", "--workers", "0",
                           "--model", "mlp:6x32", "--compare", "he,normal:1,constant:0.1", "--page", page, "--json")
        self.assertEqual(result.code, 0, result.err)
        verdicts = {r["init"]: r["verdict"] for r in result.json()["compare"]}
        self.assertEqual(verdicts, {"he": "healthy", "normal:1": "exploding", "constant:0.1": "symmetric"})
        text = page.read_text()
        for name in verdicts:
            self.assertIn("Layers, " + name, text)
        self.refused(self.here("probe", "--data", "photos", "--compare", "he,orthgonal"), 2, 'did you mean "orthogonal"?')
        self.refused(self.here("probe", "--data", "nowhere"), 3, "nowhere")

    def test_probe_shows_a_recurrent_net_step_by_step(self):
        words = ["probe", "--data", "photos", "--image-size", "16", "--batch-size", "16", "--threads", "1", "--workers", "0",
                 "--page", "none", "--json", "--model"]
        for model, init, verdict in [("rnn:plain", "auto", "healthy"), ("rnn:lstm", "auto", "healthy"),
                                     ("rnn:plain", "normal:0.1326", "exploding")]:  # 1.5 / sqrt(128)
            found = self.here(*words, model, "--init", init).json()
            self.assertEqual(found["verdict"], verdict, (model, init, found["text"], found["findings"]))
            self.assertEqual(len(found["steps"]), 16)

    def test_watch_records_layers_and_shows_them_in_the_report(self):
        for flags, steps in ((["--watch", "2"], [1, 3, 5]), (["--watch"], [1])):
            run = self.dir / ("run" + str(len(flags)))
            result = self.here("train", "--data", "photos", *QUICK, *flags, "--out", run, "--quiet")
            self.assertEqual(result.code, 0, result.err)
            rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            watched = [r for r in rows if r["kind"] == "watch"]
            self.assertEqual([r["step"] for r in watched][:3], steps)
            self.assertEqual([layer["name"] for layer in watched[0]["layers"]], ["fc1", "head"])
            self.assertTrue(all(layer["update"] > 0 and layer["gradient"] > 0 for layer in watched[0]["layers"]))
            self.assertIn("Layers over time", (run / "report.html").read_text())
        plain = self.here("train", "--data", "photos", *QUICK, "--out", self.dir / "plain", "--quiet")
        self.assertEqual(plain.code, 0, plain.err)
        self.assertNotIn("Layers over time", (self.dir / "plain/report.html").read_text())
        # Watching changes nothing.
        weights = [(self.dir / name / "model/model.safetensors").read_bytes() for name in ("run2", "plain")]
        self.assertEqual(weights[0], weights[1])

    def test_report_and_list(self):
        page = self.dir / "page.html"
        result = self.here("report", "runs/first", "--out", page, "--json")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.json()["report"], str(page))
        self.assertIn("<!doctype html", page.read_text().lower())
        self.refused(self.here("report", "runs/none"), 3, "runs/none")
        self.refused(self.here("report", "photos"), 3, "photos is no run folder")
        self.assertFalse((self.home / "photos/report.html").exists())
        runs = {r["folder"]: r for r in self.here("list", "runs", "--json").json()}
        self.assertEqual(runs["runs/first"]["ended"], "completed")

    def test_doctor_and_bench(self):
        doctor = self.here("doctor", "--json")
        self.assertEqual(doctor.code, 0, doctor.err + doctor.out)
        self.assertEqual({c["check"] for c in doctor.json()["checks"]},
                         {"threads", "instructions", "memory", "disk", "decoding", "data", "matrices", "training"})
        bench = self.here("bench", "loader", "decode", "--seconds", "0.05", "--json").json()
        self.assertEqual([m["name"] for m in bench], ["decode", "loader"])
        self.assertTrue(all(m["value"] > 0 for m in bench))
        self.refused(self.here("bench", "loadr"), 2, 'did you mean "loader"?')

    def test_a_bar_on_a_terminal_and_no_colour_if_asked(self):
        for no_color, escapes in (("", True), ("1", False)):
            master, slave = pty.openpty()
            words = [support.BALLAST, "train", "--data", str(self.home / "photos"), *QUICK, "--progress", "auto", "--out",
                     f"run{no_color}"]
            child = subprocess.Popen(words, cwd=self.dir, stderr=slave, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                     env=environment(TERM="xterm", NO_COLOR=no_color))
            os.close(slave)
            text = b""
            while select.select([master], [], [], 60)[0]:
                try:
                    piece = os.read(master, 65536)
                except OSError:
                    break
                if not piece:
                    break
                text += piece
            os.close(master)
            self.assertEqual(child.wait(60), 0)
            self.assertIn(b"epoch", text)
            colour = re.search(rb"\x1b\[[0-9;]*m", text)
            self.assertEqual(colour is not None, escapes, text)


if __name__ == "__main__":
    main()

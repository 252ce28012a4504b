"""Every row of the norm and init catalogs trains 20 steps by its name, and changes what is learned; so do the schedules of
the drops, and Monte-Carlo passes change the figures.
Usage: catalogs_test.py PROGRAM"""
import concurrent.futures
import pathlib
import shutil
import tempfile

from support import Case, ballast, main, make_photos


class Catalogs(Case):
    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="ballast-catalogs-"))
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        make_photos(cls.home / "photos", count=24, size=12)

    def weights(self, flags):
        """Code, errors and the bytes of the weights after 20 steps of 16 pictures."""
        name = "-".join(flags).replace(":", "_").replace("--", "")
        result = ballast("train", "--data", "photos", "--name", name, "--epochs", "5", "--batch-size", "16", "--threads", "1",
                         "--workers", "0", "--progress", "plain", "--no-tensorboard", "--eval-every", "5ep", "--augment", "none",
                         *flags, cwd=self.home, timeout=300)
        file = self.home / "runs" / name / "model" / "model.safetensors"
        return result, file.read_bytes() if file.exists() else b""

    def all_weights(self, many):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return dict(zip(many, pool.map(self.weights, many)))

    def test_every_norm_trains_to_weights_of_its_own(self):
        names = [row["name"] for row in ballast("list", "norm", "--json").json()]
        self.assertGreaterEqual(len(names), 17)
        sizes = {"group": ":2", "evo_s0": ":2", "split": ":2"}
        runs = {name: ("--model", "plain_cnn:3x4", "--norm", name + sizes.get(name, "")) for name in names}
        done = self.all_weights(list(runs.values()))
        seen = {}
        for name in names:
            result, weights = done[runs[name]]
            self.assertEqual(result.code, 0, f"{name}: {result.err}")
            if name == "sync":
                continue  # one process: batch
            self.assertNotIn(weights, seen, f"{name} does what {seen.get(weights)} does")
            seen[weights] = name
        self.assertEqual(done[runs["sync"]][1], done[runs["batch"]][1])

    def test_every_start_trains_to_weights_of_its_own(self):
        rows = ballast("list", "init", "--json").json()
        runs = {}
        for row in rows:
            value = row["name"] + (":0.02" if row.get("number") else "")
            model = ["plain_cnn:3x4", "--norm", "none", "--act", "tanh"]
            if row["name"] == "fixup":
                model = ["resnet8", "--norm", "none"]
            elif row["name"] in ("resnet", "wide_resnet"):  # they differ in the last norms of branches
                model = ["resnet8"]
            runs[row["name"]] = ("--model", *model, "--init", value)
        runs["fixup's rival"] = ("--model", "resnet8", "--norm", "none", "--init", "he")
        done = self.all_weights(list(runs.values()))
        same = {"mlp": "plain_cnn", "lenet": "plain_cnn"}  # one recipe under three names
        seen = {}
        for name, flags in runs.items():
            result, weights = done[flags]
            self.assertEqual(result.code, 0, f"{name}: {result.err}")
            if name in same:
                self.assertEqual(weights, done[runs[same[name]]][1], name)
                continue
            self.assertNotIn(weights, seen, f"{name} does what {seen.get(weights)} does")
            seen[weights] = name

    def test_rates_follow_their_schedules(self):
        model = ("--model", "mlp:1x16")
        drop = (*model, "--drop", "0.3")
        runs = {"none": model, "constant": drop, **{form: (*drop, "--drop-schedule", form) for form in (
            "early:0", "late:0", "ramp", "cosine", "early", "late", "dropout=ramp:0.5")}}
        done = self.all_weights(list(runs.values()))
        weights = {}
        for name, flags in runs.items():
            self.assertEqual(done[flags][0].code, 0, f"{name}: {done[flags][0].err}")
            weights[name] = done[flags][1]
        self.assertEqual(weights["early:0"], weights["none"])     # 0 from the start on
        self.assertEqual(weights["late:0"], weights["constant"])  # P from the start on
        others = [weights[name] for name in runs if name not in ("early:0", "late:0")]
        self.assertEqual(len(set(others)), len(others))
        for flags, text in (
            (("--drop-schedule", "rmp"), 'did you mean "ramp"'),
            (("--drop-schedule", "ramp:2"), "the share of the run must be in [0, 1]"),
            (("--drop", "0", "--drop-schedule", "drop_block=ramp"), "model must have layers of drop_block, got none"),
        ):
            result, _ = self.weights((*model, *flags))
            self.assertEqual(result.code, 2, f"{flags}: {result.err}")
            self.assertIn(text, result.err)

    def test_monte_carlo_passes(self):
        result, _ = self.weights(("--model", "mlp:1x16", "--drop", "0.5"))
        self.assertEqual(result.code, 0, result.err)
        run = "runs/model-mlp_1x16-drop-0.5"

        def figures(*flags):
            done = ballast("eval", run, "--json", *flags, cwd=self.home)
            self.assertEqual(done.code, 0, done.err)
            return done.json()

        plain, mc = figures(), figures("--mc", "8")
        self.assertNotIn("mc", plain)
        self.assertEqual(mc["mc"]["passes"], 8)
        self.assertGreater(mc["mc"]["variance"], 0)
        self.assertGreater(mc["mc"]["mutual_information"], 0)
        self.assertNotEqual(mc["loss"], plain["loss"])
        again = figures("--mc", "8", "--batch-size", "5")  # the same masks for any size of a batch
        self.assertAlmostEqual(again["loss"], mc["loss"], places=6)
        self.assertAlmostEqual(again["mc"]["mutual_information"], mc["mc"]["mutual_information"], places=6)
        self.assertLess(figures("--mc", "1")["mc"]["variance"], 1e-12)
        self.assertEqual(self.weights(("--model", "mlp:1x8"))[0].code, 0)
        refused = ballast("eval", "runs/model-mlp_1x8", "--mc", "2", cwd=self.home)
        self.assertEqual(refused.code, 2, refused.err)
        self.assertIn("model must have layers that drop, got none", refused.err)

    def test_refusals(self):
        for flags, text in (
            (("--norm", "bach"), 'did you mean "batch"'),
            (("--norm", "split:1"), "parts must be a whole number from 2 to 65536"),
            (("--norm", "group:x"), "groups must be a whole number"),
            (("--norm", "frn:2"), "frn takes no size"),
            (("--init", "hee"), 'did you mean "he"'),
            (("--norm", "group:3"), "num_groups must divide channels"),
            (("--norm", "split:5"), "batch must be divisible by num_splits"),
        ):
            result, _ = self.weights(("--model", "plain_cnn:3x4", *flags))
            self.assertEqual(result.code, 2, f"{flags}: {result.err}")
            self.assertIn(text, result.err)


if __name__ == "__main__":
    main()

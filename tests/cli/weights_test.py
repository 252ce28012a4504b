"""Files of weights on the command line: inspect, convert, compare, and a run that starts from one. Python's standard
library only; the files of PyTorch are tests/golden/pt. Usage: weights_test.py PROGRAM"""
import json
import pathlib
import shutil
import struct
import tempfile
import unittest

from support import Case, ballast, main, make_photos

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/pt"
RESNET = ["--model", "resnet8", "--epochs", "1", "--batch-size", "16", "--threads", "1", "--workers", "0",
          "--progress", "plain", "--no-tensorboard"]


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}"""
    data = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for name, t in header.items()}


class Files(Case):
    def test_inspect_shows_every_kind(self):
        expected = self.run_in("inspect", GOLDEN / "layer.safetensors", "--json").json()
        self.assertEqual(expected["kind"], "safetensors")
        for name, kind in (("layer.pt", "pt"), ("protocol4.pt", "pt"), ("checkpoint.pt", "pt"), ("script.ts", "torchscript")):
            shown = self.run_in("inspect", GOLDEN / name, "--json").json()
            self.assertEqual(shown["kind"], kind)
            self.assertEqual(shown["tensors"], expected["tensors"], name)
        text = self.run_in("inspect", GOLDEN / "checkpoint.pt").out
        self.assertIn("checkpoint.pt (pt, state_dict_ema): 7 tensors", text)
        self.assertIn("not tensors, not shown: epoch arch state_dict optimizer metric args", text)
        self.assertIn("0.weight", text)

    def test_what_is_no_state_dict_is_refused_and_nothing_runs(self):
        for command in (["inspect"], ["convert"], ["compare"]):
            more = ["out.safetensors"] if command == ["convert"] else [GOLDEN / "layer.pt"] if command == ["compare"] else []
            self.refused(self.run_in(*command, GOLDEN / "command.pt", *more), 3, "posix.system is not a constructor",
                         "nothing was run")
            self.refused(self.run_in(*command, GOLDEN / "module.pt", *more), 3, "Sequential", "state_dict()")
            self.refused(self.run_in(*command, GOLDEN / "legacy.pt", *more), 3, "before version 1.6")
            (self.dir / "cut.pt").write_bytes((GOLDEN / "layer.pt").read_bytes()[:-100])
            self.refused(self.run_in(*command, "cut.pt", *more), 3, "cut.pt", "truncated")
            self.refused(self.run_in(*command, "none.pt", *more), 3, "none.pt")
        self.assertEqual([p.name for p in self.dir.iterdir()], ["cut.pt"])

    def test_convert_there_and_back_changes_no_bit(self):
        for end in ("pt", "pth", "bin", "safetensors"):
            done = self.run_in("convert", GOLDEN / "types.safetensors", f"a.{end}", "--json")
            self.assertEqual(done.code, 0, done.err)
            self.assertEqual(done.json()["tensors"], 17)
            back = self.run_in("convert", f"a.{end}", f"back-{end}.safetensors")
            self.assertEqual(back.code, 0, back.err)
            self.assertEqual(read_safetensors(self.dir / f"back-{end}.safetensors"), read_safetensors(GOLDEN / "types.safetensors"))
            self.assertEqual(self.run_in("compare", f"a.{end}", GOLDEN / "types.pt").code, 0)

    def test_convert_keeps_the_average_and_names_what_it_leaves_out(self):
        done = self.run_in("convert", GOLDEN / "checkpoint.pt", "w.safetensors", "--half")
        self.assertEqual(done.code, 0, done.err)
        self.assertIn("left out, since no weights: epoch arch state_dict optimizer metric args", done.out)
        small = read_safetensors(self.dir / "w.safetensors")
        self.assertEqual({t[0] for t in small.values()}, {"F16", "I64"})
        self.assertEqual(self.run_in("compare", "w.safetensors", GOLDEN / "layer.pt").code, 5)
        self.run_in("convert", GOLDEN / "layer.pt", "b.safetensors", "--bf16")
        self.assertEqual({t[0] for t in read_safetensors(self.dir / "b.safetensors").values()}, {"BF16", "I64"})

    def test_convert_takes_prefixes_off(self):
        self.run_in("convert", GOLDEN / "layer.pt", "plain.safetensors", "--strip-prefix", "0.")
        self.assertIn("weight", read_safetensors(self.dir / "plain.safetensors"))
        self.assertIn("1.weight", read_safetensors(self.dir / "plain.safetensors"))
        self.refused(self.run_in("convert", GOLDEN / "layer.pt", "x.pt", "--strip-prefix", "modul."), 2,
                     "--strip-prefix must be the start of a name")
        self.assertFalse((self.dir / "x.pt").exists())

    def test_convert_refuses_what_would_lose_a_file(self):
        (self.dir / "a.pt").write_bytes(b"mine")
        self.refused(self.run_in("convert", GOLDEN / "layer.pt", "a.pt"), 2, "--overwrite replaces it")
        self.assertEqual((self.dir / "a.pt").read_bytes(), b"mine")
        self.assertEqual(self.run_in("convert", GOLDEN / "layer.pt", "a.pt", "--overwrite").code, 0)
        self.refused(self.run_in("convert", GOLDEN / "layer.pt", "a.onnx"), 2, ".safetensors, .pt, .pth or .bin")
        self.refused(self.run_in("convert", GOLDEN / "layer.pt", "b.pt", "--half", "--bf16"), 2, "two types")
        self.refused(self.run_in("convert", GOLDEN / "layer.pt", "b.pt", "--strip-prefx", "a"), 2, "--strip-prefix")

    def test_compare_tells_the_first_difference(self):
        same = self.run_in("compare", GOLDEN / "layer.pt", GOLDEN / "layer.safetensors", "--json")
        self.assertEqual((same.code, same.json()["same"], same.json()["equal"]), (0, True, 7))
        shutil.copy(GOLDEN / "layer.safetensors", self.dir / "b.safetensors")
        data = bytearray((self.dir / "b.safetensors").read_bytes())
        tensors = read_safetensors(self.dir / "b.safetensors")
        at = bytes(data).index(tensors["0.weight"][2])
        data[at] ^= 1  # lowest bit of the first number
        (self.dir / "b.safetensors").write_bytes(data)
        other = self.run_in("compare", GOLDEN / "layer.pt", "b.safetensors")
        self.assertEqual(other.code, 5)
        self.assertIn("first difference: 0.weight (other values) at (0, 0)", other.out)
        self.assertIn("1 tensors differ, 6 are equal", other.out)
        report = self.run_in("compare", GOLDEN / "layer.pt", "b.safetensors", "--json").json()
        self.assertEqual((report["first"], report["ulps"], report["differences"][0]["differing"]), ("0.weight", 1, 1))
        self.assertEqual(self.run_in("compare", GOLDEN / "layer.pt", GOLDEN / "types.pt").code, 5)

    def test_help_and_typos(self):
        for command in ("convert", "compare"):
            text = self.run_in(command, "--help").out
            for part in ("USAGE", "ABOUT", "EXAMPLES", "EXIT CODES", "--json"):
                self.assertIn(part, text)
            self.assertIn(command, self.run_in("completion", "bash").out)
        self.refused(self.run_in("convrt", "a", "b"), 2, 'did you mean "convert"?')
        self.refused(self.run_in("comapre", "a", "b"), 2, 'did you mean "compare"?')
        self.refused(self.run_in("compare", "a"), 2, "compare")


class Pretrained(Case):
    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="ballast-cli-"))
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        make_photos(cls.home / "three", count=12)
        make_photos(cls.home / "two", classes=("cat", "owl"), count=12, seed=1)
        done = ballast("train", "--data", "three", *RESNET, "--out", "first", cwd=cls.home, timeout=300)
        assert done.code == 0, done.err

    def train(self, *words):
        return ballast("train", "--data", str(self.home / "two"), *RESNET, "--out", "run", *words, cwd=self.dir, timeout=300)

    def weights(self):
        return read_safetensors(self.dir / "run/model/model.safetensors")

    def test_a_run_starts_from_a_run_and_says_what_it_took(self):
        first = read_safetensors(self.home / "first/model/model.safetensors")
        done = self.train("--pretrained", self.home / "first", "--freeze", "conv1.*,bn1.*,layer1.*", "--layer-decay", "0.75", "--json")
        self.assertEqual(done.code, 0, done.err)
        start = done.json()["plan"]["start"]
        self.assertEqual((start["loaded"], start["tensors"]), (len(first) - 2, len(first)))
        rows = {r["name"]: r for r in start["rows"]}
        self.assertEqual(rows["fc.weight"]["action"], "reset")
        self.assertEqual((rows["fc.weight"]["file_shape"], rows["fc.weight"]["model_shape"]), ([3, 64], [2, 64]))
        self.assertEqual(rows["fc.weight"]["why"], "the file has 3 outputs, the model 2")
        self.assertEqual(start["frozen_tensors"], 9)
        self.assertEqual(start["frozen_layers"], 3)
        scale = {g["name"]: g["lr_scale"] for g in start["groups"]}
        self.assertEqual(scale["head, decay"], 1)
        self.assertAlmostEqual(scale["block 2, decay"], 0.75 ** 2)
        self.assertNotIn("stem, decay", scale)  # frozen
        self.assertIn("reset fc.weight (3, 64) -> (2, 64): the file has 3 outputs, the model 2", done.err)
        self.assertIn("frozen: 9 tensors", done.err)
        written = json.loads((self.dir / "run/pretrained.json").read_text())
        self.assertEqual(written, start)
        after = self.weights()
        for name, tensor in first.items():
            if name.startswith(("conv1.", "bn1.", "layer1.")):
                self.assertEqual(after[name], tensor, name)  # bit for bit, running statistics too
        self.assertTrue(any(after[n] != t for n, t in first.items() if n.startswith("layer3.")))
        config = (self.dir / "run/config.toml").read_text()
        self.assertIn('layer_decay = 0.75', config)

    def test_each_option_changes_the_result(self):
        results = {}
        for name, words in {"scratch": [], "pretrained": ["--pretrained", self.home / "first"],
                            "decay": ["--pretrained", self.home / "first", "--layer-decay", "0.5"],
                            "group": ["--pretrained", self.home / "first", "--param-group", "fc.*:lr_scale=0"]}.items():
            done = self.train(*words, "--overwrite")
            self.assertEqual(done.code, 0, done.err)
            results[name] = self.weights()
        for a in results:
            for b in results:
                self.assertEqual(results[a] == results[b], a == b, (a, b))

    def test_gray_weights_and_pt_files_are_taken(self):
        self.assertEqual(self.run_in("convert", self.home / "first", "first.pt").code, 0)
        done = self.train("--pretrained", "first.pt", "--dry-run", "--json")
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual(done.json()["plan"]["start"]["kind"], "pt")

    def test_what_does_not_fit_is_refused_and_leaves_no_run(self):
        for words, texts in ((["--pretrained", GOLDEN / "layer.pt"], ["layer.pt must fit resnet8", "names are missing",
                                                                      "--pretrained-partial"]),
                             (["--pretrained", GOLDEN / "command.pt"], ["posix.system"]),
                             (["--pretrained", "none.safetensors"], ["none.safetensors"]),
                             (["--pretrained", GOLDEN / "layer.pt", "--pretrained-partial"], ["got none of its"])):
            self.refused(self.train(*words), 3, *texts)
        self.refused(self.train("--freeze", "layer9.*"), 2, "layer9.* must match a parameter, got none")
        self.refused(self.train("--freeze", "*"), 2, "at least one that requires a gradient")
        self.refused(self.train("--layer-decay", "0"), 2, "in (0, 1]")
        self.refused(self.train("--param-group", "fc.*:lr=3"), 2, "GLOB:lr_scale=X")
        self.refused(self.train("--pretrained-partial"), 2, "give --pretrained FILE")
        self.refused(self.train("--pretraind", "x"), 2, "--pretrained")
        self.assertFalse((self.dir / "run").exists())


if __name__ == "__main__":
    main()

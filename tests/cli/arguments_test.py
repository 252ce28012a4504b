"""Words of the command line, configuration and help: everything that needs no torch. Usage: arguments_test.py PROGRAM"""
import json
import re
import subprocess
import time
import unittest

import support
from support import Case, environment, main, make_photos

COMMANDS = ["train", "eval", "predict", "list", "inspect", "convert", "compare", "probe", "data check", "pack",
            "augment list", "augment explain", "augment preview", "augment show", "augment bench", "drop preview",
            "ensemble train", "ensemble add", "ensemble adopt", "ensemble retire", "ensemble status",
            "ensemble combine", "ensemble select", "ensemble calibrate", "ensemble prune", "ensemble cascade", "ensemble eval",
            "ensemble report", "ensemble soup", "ensemble distill", "ensemble predict", "calibrate", "report", "config", "bench", "doctor",
            "completion", "version"]


class Words(Case):
    def test_without_arguments_a_short_friendly_help(self):
        result = self.run_in()
        self.assertEqual(result.code, 0)
        self.assertIn("ballast train --data photos/", result.out)
        self.assertLess(len(result.out.splitlines()), 15)
        self.assertEqual(result.err, "")

    def test_a_typo_of_a_command_is_answered(self):
        for typo, name in [("tran", "train"), ("trian", "train"), ("evla", "eval"), ("predit", "predict"),
                           ("lst", "list"), ("inspct", "inspect"), ("porbe", "probe"), ("reprot", "report"), ("confg", "config"),
                           ("bnech", "bench"), ("docter", "doctor"), ("completoin", "completion")]:
            self.refused(self.run_in(typo), 2, f'unknown command "{typo}"; did you mean "{name}"?')
        self.refused(self.run_in("data", "chekc"), 2, 'did you mean "data check"?')
        self.refused(self.run_in("zebra"), 2, "ballast --help names all")

    def test_a_typo_of_any_flag_of_train_is_answered(self):
        flags = set(re.findall(r"--[a-z][a-z_.-]+", self.run_in("train", "--help").out))
        wrong = asked = 0
        for flag in sorted(f for f in flags if len(f) > 8)[::4]:
            typo = flag[:5] + flag[6:]
            if typo in flags:
                continue
            result = self.run_in("train", typo, "1")
            self.assertEqual(result.code, 2, typo)
            self.assertIn("unknown flag " + typo, result.err)
            asked += 1
            wrong += f'did you mean "{flag}"?' not in result.err
        self.assertGreater(asked, 15)
        self.assertLessEqual(wrong, asked * 0.05)

    def test_a_typo_of_a_value_is_answered(self):
        for flag, typo, name in [("--model", "resnet19", "resnet18"), ("--model", "lennet", "lenet"),
                                 ("--opt", "adma", "adam"), ("--sched", "cosin", "cosine"), ("--norm", "bach", "batch"),
                                 ("--act", "rleu", "relu"), ("--init", "orthgonal", "orthogonal"),
                                 ("--monitor", "val/top11", "val/top1"), ("--augment", "ligth", "light"),
                                 ("--math", "repeatble", "repeatable"), ("--color", "atuo", "auto")]:
            self.refused(self.run_in("train", flag, typo), 2, flag + " must be", f'did you mean "{name}"?')
        self.refused(self.run_in("list", "modles"), 2, 'did you mean "models"?')
        self.refused(self.run_in("inspect", "resnet19"), 2, "resnet18")

    def test_values_out_of_range_are_refused(self):
        for flag, value, text in [("--lr", "-1", "> 0"), ("--lr", "0", "> 0"), ("--lr", "nan", "finite"),
                                  ("--lr", "fast", "a number"), ("--epochs", "0", "in [1,"), ("--epochs", "1.5", "an integer"),
                                  ("--batch-size", "-3", "in [1,"), ("--momentum", "1", "in [0, 1)"),
                                  ("--patience", "0", ">= 1"), ("--smoothing", "1.5", "in [0, 1)"),
                                  ("--seed", "-1", "an integer"), ("--max-time", "5ep", "a time"),
                                  ("--clip", "norm", "norm:C"), ("--device", "gpu", "cuda:N"),
                                  ("--opt-betas", "0.9", "2 elements"), ("--threads", "0", "in [1,")]:
            self.refused(self.run_in("train", flag, value), 2, flag + " must be", text)

    def test_all_errors_are_reported_together(self):
        result = self.run_in("train", "--lr", "-1", "--epochs", "x", "--opt", "adma", "--epoch=3")
        self.refused(result, 2, "--lr", "--epochs", "--opt", "--epoch ", lines=4)

    def test_a_flag_without_its_value(self):
        self.refused(self.run_in("train", "--lr"), 2, "--lr needs a value")

    def test_names_of_other_programs_are_refused_with_the_remedy(self):
        self.refused(self.run_in("train", "--grad-accum-steps", "4"), 2,
                     "batch_size counts the whole step: use --micro-batch 128")
        self.refused(self.run_in("train", "--learning-rate", "4"), 2, "use --lr")

    def test_conflicts_are_named(self):
        self.refused(self.run_in("train", "--micro-batch", "256", "-b", "128"), 2, "train.micro_batch must be at most")
        self.refused(self.run_in("train", "--name", "a", "--out", "b"), 2, "run.name and run.out")
        self.refused(self.run_in("train", "--lr", "1", "--lr-base", "2"), 2, "--lr-base")

    def test_too_many_or_too_few_operands(self):
        self.refused(self.run_in("train", "photos"), 2, 'unexpected "photos"')
        self.refused(self.run_in("eval"), 2, "eval needs MODEL")
        self.refused(self.run_in("predict", "model"), 2, "predict needs MODEL FILES...")

    def test_torch_free_commands_start_at_once(self):
        best = 1.0
        for _ in range(5):
            start = time.perf_counter()
            self.run_in("list", "init")
            best = min(best, time.perf_counter() - start)
        self.assertLess(best, 0.05)

    def test_no_color_and_no_terminal_give_no_escape_codes(self):
        for env in (environment(), environment(NO_COLOR="1"), environment(TERM="dumb")):
            for words in (["--help"], ["list", "models"], ["tran"]):
                result = self.run_in(*words, env=env)
                self.assertNotIn("\x1b", result.out + result.err)


class Help(Case):
    def test_every_command_has_help_with_examples_and_all_its_flags(self):
        script = self.run_in("completion", "bash").out
        for name in COMMANDS:
            result = self.run_in(*name.split(), "--help")
            self.assertEqual((result.code, result.err), (0, ""), name)
            for part in ("USAGE", "EXAMPLES", "EXIT CODES", "--json", "--quiet", "--verbose", "--color", "--help"):
                self.assertIn(part, result.out, name)
            block = script.split(f'    "{name}"*)\n' if " " in name else f'    "{name} "*)\n', 1)[1]
            flags = re.search(r'flags="([^"]*)"', block).group(1).split()
            self.assertGreater(len(flags), 4, name)
            for flag in flags:
                self.assertRegex(result.out, re.escape(flag) + r"\b", name)

    def test_every_key_is_in_the_help_of_train(self):
        text = self.run_in("train", "--help").out
        for row in self.run_in("config", "schema", "--json").json():
            self.assertIn("--" + row["key"], text)

    def test_a_section_of_help(self):
        text = self.run_in("train", "--help", "optim").out
        self.assertTrue(text.startswith("[optim]\n"))
        self.assertNotIn("--epochs", text)
        self.refused(self.run_in("train", "--help", "optm"), 2, 'did you mean "optim"?')

    def test_program_help_names_all_commands(self):
        text = self.run_in("--help").out
        for name in COMMANDS:
            self.assertIn("\n  " + name + " ", text)

    def test_version(self):
        self.assertRegex(self.run_in("--version").out, r"^ballast \d+\.\d+\.\d+\nLibTorch .*\nSIMD .*\ncompiler .*\n$")
        self.assertEqual(sorted(self.run_in("--version", "--json").json()), ["ballast", "compiler", "cpu", "libtorch", "simd"])

    def test_completion_completes_in_bash(self):
        script = self.run_in("completion", "bash").out
        (self.dir / "c.bash").write_text(script)

        def complete(*words):
            line = ("source c.bash; COMP_WORDS=(" + " ".join(f"'{w}'" for w in words) +
                    f"); COMP_CWORD={len(words) - 1}; _ballast; echo ${{COMPREPLY[*]}}")
            done = subprocess.run(["bash", "-c", line], cwd=self.dir, capture_output=True, text=True, check=True)
            return done.stdout.split()

        self.assertEqual(complete("ballast", "tr"), ["train"])
        self.assertIn("--epochs", complete("ballast", "train", "--ep"))
        self.assertEqual(complete("ballast", "train", "--sched", "cos"), ["cosine"])
        self.assertIn("resnet18", complete("ballast", "train", "--model", "resnet1"))
        self.assertIn("check", complete("ballast", "data", "ch"))
        self.assertEqual(complete("ballast", "ensemble", "ca"), ["calibrate", "cascade"])
        self.assertEqual(complete("ballast", "ensemble", "prune", "--marg"), ["--margin"])
        self.refused(self.run_in("completion", "fish"), 2, "bash only")


class Configuration(Case):
    def value(self, key, *words, env=None):
        result = self.run_in("config", "explain", key, "--json", *words, env=env)
        self.assertEqual(result.code, 0, result.err)
        row = result.json()[0]
        return row["value"], row["origin"]

    def test_default_file_environment_flag(self):
        (self.dir / "a.toml").write_text("[optim]\nlr = 0.2\n")
        (self.dir / "b.toml").write_text("\n[optim]\nlr = 0.3\n")
        env = environment(BALLAST_OPTIM_LR="0.4")
        self.assertEqual(self.value("optim.lr"), ("auto", "default"))
        self.assertEqual(self.value("optim.lr", "--config", "a.toml"), (0.2, "a.toml:2"))
        self.assertEqual(self.value("optim.lr", "--config", "a.toml", "--config", "b.toml"), (0.3, "b.toml:3"))
        self.assertEqual(self.value("optim.lr", "--config", "a.toml", env=env), (0.4, "env"))
        self.assertEqual(self.value("optim.lr", "--config", "a.toml", "--lr", "0.5", env=env), (0.5, "flag"))
        self.assertEqual(self.value("optim.lr", "--optim.lr=0.6"), (0.6, "flag"))

    def test_rendered_text_reads_back(self):
        words = ["--lr", "0.25", "--epochs", "3", "--no-nesterov", "--clip", "norm:1.5", "--max-time", "45m"]
        first = self.run_in("config", "render", *words)
        (self.dir / "r.toml").write_text(first.out)
        strip = lambda text: re.sub(r"  # .*", "", text)
        self.assertEqual(strip(self.run_in("config", "render", "--config", "r.toml").out), strip(first.out))
        self.assertIn("lr = 0.25  # flag", first.out)
        self.assertIn("batch_size = 128  # default", first.out)

    def test_errors_of_a_file_have_their_place_and_come_together(self):
        (self.dir / "recipe.toml").write_text('[train]\nepoch = 3\nbatch_size = "64"\n[optim]\nname = "adamm"\n[trian]\nx = 1\n')
        self.refused(self.run_in("train", "--config", "recipe.toml"), 2,
                     'recipe.toml:2:1: unknown key "train.epoch"; did you mean "train.epochs"?',
                     'recipe.toml:3:14: train.batch_size must be an integer in [1, 1000000], got "64" (a text)',
                     'recipe.toml:5:8: optim.name must be', 'recipe.toml:6:2: unknown section "trian"; did you mean "train"?',
                     lines=4)
        (self.dir / "bad.toml").write_text("[train\n")
        self.refused(self.run_in("train", "--config", "bad.toml"), 2, "bad.toml:1:")
        self.refused(self.run_in("train", "--config", "none.toml"), 3, "none.toml: No such file")
        self.refused(self.run_in("train", "--config", "."), 3, "is a folder")

    def test_each_key_with_one_edit_is_refused_with_the_right_name(self):
        keys = [row["key"] for row in self.run_in("config", "schema", "--json").json()]
        self.assertGreater(len(keys), 50)
        lines, right = [], {}
        for key in keys:
            section, name = key.split(".", 1)
            typo = name + "x" if "." in name or len(name) < 4 else name[0] + name[2] + name[1] + name[3:]
            if section + "." + typo not in keys and typo != name:
                right[section + "." + typo] = key
        for typo in right:
            lines.append(typo + " = 1")
        (self.dir / "t.toml").write_text("\n".join(lines))
        result = self.run_in("config", "render", "--config", "t.toml")
        self.assertEqual(result.code, 2)
        answered = dict(re.findall(r'unknown key "([^"]*)"; did you mean "([^"]*)"', result.err))
        good = sum(answered.get(typo) == key for typo, key in right.items())
        self.assertGreaterEqual(good, 0.95 * len(right), [t for t in right if answered.get(t) != right[t]])

    def test_environment(self):
        self.refused(self.run_in("train", env=environment(BALLAST_TRAIN_EPOCH="3")), 2,
                     'BALLAST_TRAIN_EPOCH: unknown variable; did you mean "BALLAST_TRAIN_EPOCHS"?')
        self.refused(self.run_in("train", env=environment(BALLAST_OPTIM_LR="x")), 2, "BALLAST_OPTIM_LR: optim.lr must be")

    def test_other_programs_spellings(self):
        self.assertEqual(self.value("optim.lr", "--lr-base", "0.4", "-b", "64")[0], 0.1)
        self.assertEqual(self.value("train.clip", "--clip-grad", "2", "--clip-mode", "value")[0], "value:2")
        self.assertEqual(self.value("train.layout", "--channels-last")[0], "channels_last")
        self.assertEqual(self.value("augment.preset", "--no-aug")[0], "none")
        self.assertEqual(self.value("save.every", "--recovery-interval", "100")[0], "100st")
        self.assertEqual(self.value("schedule.warmup", "--warmup-epochs", "5")[0], "5ep")

    def test_diff(self):
        (self.dir / "a.toml").write_text("[train]\nepochs = 3\n")
        (self.dir / "b.toml").write_text("[train]\nepochs = 4\n")
        self.assertEqual(self.run_in("config", "diff", "a.toml", "b.toml", "--json").json(),
                         [{"key": "train.epochs", "a": 3, "b": 4}])
        self.assertEqual(self.run_in("config", "diff", "a.toml", "a.toml").out, "no difference\n")
        self.refused(self.run_in("config", "diff", "a.toml"), 2, "usage: ballast config diff A B")
        self.refused(self.run_in("config", "rendr"), 2, 'did you mean "render"?')
        self.refused(self.run_in("config", "explain", "train.epoch"), 2, 'did you mean "train.epochs"?')


class Catalogs(Case):
    def test_lists_are_json_and_tables(self):
        for what, least in [("models", 12), ("augment", 6), ("init", 5), ("norm", 4), ("drop", 7)]:
            rows = self.run_in("list", what, "--json").json()
            self.assertGreaterEqual(len(rows), least)
            table = self.run_in("list", what).out
            for row in rows:
                self.assertIn(row["name"], table)
        models = {row["name"]: row for row in self.run_in("list", "models", "--json").json()}
        self.assertEqual(models["resnet20"]["parameters"], 272474)
        self.assertEqual(models["resnet18"]["parameters"], 11689512)
        self.assertGreater(models["resnet18"]["multiply_adds"], 1.7e9)

    def test_no_runs(self):
        self.assertEqual(self.run_in("list", "runs", "--json").json(), [])


class DataCheck(Case):
    def test_good_data(self):
        make_photos(self.dir / "photos")
        result = self.run_in("data", "check", "photos", "--json")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.json()["classes"], ["cat", "dog", "owl"])
        self.assertEqual(self.run_in("data", "check", "photos").code, 0)

    def test_bad_files_are_named_with_their_reason(self):
        make_photos(self.dir / "photos")
        dog = self.dir / "photos" / "dog"
        whole = (dog / "000.png").read_bytes()
        jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        files = {"cut.png": whole[: len(whole) // 2], "cut.jpg": jpeg, "text.jpg": b"this is no picture\n" * 9,
                 "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "gif.jpg": b"GIF89a" + b"\0" * 64,
                 "tiff.jpg": b"II*\0\x08\0\0\0" + b"\0" * 64, "huge.png": support.png_header(65500, 65500),
                 "empty.png": b""}
        for name, data in files.items():
            (dog / name).write_bytes(data)
        result = self.run_in("data", "check", "photos", "--json")
        self.assertEqual(result.code, 3)
        report = json.dumps(result.json())
        for name in files:
            self.assertIn("dog/" + name, report)
        text = self.run_in("data", "check", "photos").out
        for word in ("HEIC", "GIF", "TIFF", "truncated", "65,500" if "65,500" in text else "65500"):
            self.assertIn(word, text)

    def test_formats_that_are_not_read_are_refused_by_name(self):
        make_photos(self.dir / "photos", classes=("cat", "dog"))
        for i in range(4):
            (self.dir / "photos" / "dog" / f"{i}.gif").write_bytes(b"GIF89a" + b"\0" * 64)
        result = self.run_in("data", "check", "photos")
        self.assertIn("gif", (result.out + result.err).lower())

    def test_missing_folder_empty_class_one_class(self):
        self.refused(self.run_in("data", "check", "nothing-here"), 3, "nothing-here")
        make_photos(self.dir / "photos")
        (self.dir / "photos" / "zebra").mkdir()
        self.refused(self.run_in("data", "check", "photos"), 3, "zebra")
        make_photos(self.dir / "one", classes=("cat",))
        self.refused(self.run_in("data", "check", "one"), 3, "class")
        (self.dir / "void").mkdir()
        self.refused(self.run_in("data", "check", "void"), 3, "void")

    def test_idx_with_a_wrong_magic(self):
        (self.dir / "train-images-idx3-ubyte").write_bytes(b"\1\2\3\4" + b"\0" * 100)
        (self.dir / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\1\0")
        self.refused(self.run_in("data", "check", "."), 3, "train-images-idx3-ubyte")

    def test_a_label_out_of_range(self):
        record = bytes([3]) + bytes(3072)
        (self.dir / "data_batch_1.bin").write_bytes(record * 9999 + bytes([11]) + bytes(3072))
        self.refused(self.run_in("data", "check", "."), 3, "data_batch_1.bin", "11")


if __name__ == "__main__":
    main()

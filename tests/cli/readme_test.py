"""Every command that README.md shows, in its order, in one folder: as a newcomer would type them. `./run` stands for the program
that is built already; the environment makes the trainings short, the words of the commands stay as they are written."""
import pathlib
import re
import shlex
import shutil

import support

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The photos are two or three a class: a third of each is tested on.
SHORT = {"BALLAST_DATA_LIMIT": "96", "BALLAST_TRAIN_EPOCHS": "1", "BALLAST_DATA_IMAGE_SIZE": "32", "BALLAST_TRAIN_BATCH_SIZE": "8",
         "BALLAST_DATA_SPLIT_TEST": "0.34"}
# ./test itself runs this test; --dry-run and the like give their own epochs.
NOT_THE_PROGRAM = ("./test",)


def commands():
    text = (ROOT / "README.md").read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.splitlines():
            if line and not line.startswith("#"):
                yield line


class Readme(support.Case):
    def test_every_command_works(self):
        shutil.copytree(ROOT / "tests/photos", self.dir / "photos", ignore=shutil.ignore_patterns("README.md"))
        env = support.environment(**SHORT)
        seen = 0
        for line in commands():
            words = shlex.split(line)
            if words[0] in NOT_THE_PROGRAM:
                continue
            with self.subTest(command=line):
                self.assertEqual(words[0], "./run")
                words = words[1:] or ["train"]
                self.assertNotIn(words[0], ("--with-wheel",), "a command that needs a set-up is shown in the text only")
                done = support.ballast(*words, cwd=self.dir, env=env, timeout=240)
                self.assertEqual(done.code, 0, done.err)
                seen += 1
        self.assertGreaterEqual(seen, 10)
        self.assertTrue((self.dir / "sorted").is_dir())
        self.assertTrue(list(self.dir.glob("runs/*/report.html")))


if __name__ == "__main__":
    support.main()

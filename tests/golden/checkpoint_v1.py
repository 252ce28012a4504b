"""Makes checkpoint_v1/, a run of checkpoint format 1 as the first version that had it left it: two epochs of a small net, finished.
Usage: checkpoint_v1.py PROGRAM. Made once; it is never made again, for old checkpoints must load for ever (cli/resume_test.py)."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))
from support import environment, make_photos

WORDS = ["--data", "photos", "--out", "run", "--model", "mlp:1x4", "--image-size", "8", "--augment-train", "resize(8) | hflip",
         "--augment-eval", "resize(8)", "--epochs", "2", "--batch-size", "8", "--model-ema", "4st", "--patience", "5",
         "--threads", "1", "--workers", "0", "--log-every", "2", "--no-tensorboard", "--progress", "none"]
KEPT = ["config.toml", "metrics.jsonl", "timing.jsonl", "events.jsonl", "split.csv", "result.json"]


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        make_photos(home / "photos", count=10)
        subprocess.run(["unshare", "--uts", "sh", "-c", 'hostname somewhere && exec "$@"', "sh", program, "train", *WORDS], cwd=home,
                       env=environment(), check=True)
        run, out = home / "run", HERE / "checkpoint_v1"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for name in KEPT:
            shutil.copy(run / name, out / name)
        newest = max((run / "checkpoints").glob("step-*"))
        shutil.copytree(newest, out / "checkpoints" / newest.name)


if __name__ == "__main__":
    main()

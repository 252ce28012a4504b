"""What the tests of the command line share: running the program, making pictures. Python's standard library only."""
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

BALLAST = os.environ.get("BALLAST", "build/release/bin/ballast")


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self):
        return [line for line in self.err.splitlines() if line]

    def json(self):
        return json.loads(self.out)


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("BALLAST_")}
    env.update(more)
    return env


def ballast(*words, cwd=None, env=None, timeout=120, **more):
    done = subprocess.run([BALLAST, *map(str, words)], cwd=cwd, env=env or environment(), timeout=timeout,
                          stdin=subprocess.DEVNULL, capture_output=True, **more)
    return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def png(width, height, pixel):
    """A PNG file: pixel(x, y) gives (r, g, b)."""
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def png_header(width, height):
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data)) +
            struct.pack(">I", 10) + b"IDAT" + b"x" * 14)


def make_photos(root, classes=("cat", "dog", "owl"), count=16, size=16, seed=0):
    """A folder of pictures: each class has its own colour, with noise."""
    draw = random.Random(seed)
    for label, name in enumerate(classes):
        folder = pathlib.Path(root) / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            base = [40, 40, 40]
            base[label % 3] = 200
            (folder / f"{i:03}.png").write_bytes(
                png(size, size, lambda x, y: [min(255, max(0, b + draw.randrange(-30, 31))) for b in base]))
    return pathlib.Path(root)


# Small and quick, on one thread.
QUICK = ["--model", "mlp:1x16", "--epochs", "2", "--batch-size", "16", "--threads", "1", "--workers", "0",
         "--progress", "plain", "--no-tensorboard"]


class Case(unittest.TestCase):
    """A test with its own empty folder."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ballast-cli-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def run_in(self, *words, **more):
        return ballast(*words, cwd=self.dir, **more)

    def refused(self, result, code, *texts, lines=1):
        """Ends with this code and so many lines on stderr, each "ballast: ...", that hold the texts; stdout is empty."""
        self.assertEqual(result.code, code, result.err)
        self.assertEqual(result.out, "")
        self.assertEqual(len(result.lines), lines, result.err)
        for line in result.lines:
            self.assertTrue(line.startswith("ballast: "), line)
        for text in texts:
            self.assertIn(text, result.err)


def main():
    global BALLAST
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and os.path.exists(sys.argv[1]):
        BALLAST = os.path.abspath(sys.argv.pop(1))
    BALLAST = os.path.abspath(BALLAST)
    unittest.main(verbosity=1)

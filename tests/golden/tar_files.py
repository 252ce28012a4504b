#!/usr/bin/env python3
"""Archives for tar_shards_test.cpp, by Python's tarfile and by GNU tar; checks ballast.tar, which our own writer made.

    tests/golden/tar_files.py           writes tests/golden/tar/*.tar except ballast.tar
    tests/golden/tar_files.py --check   reads ballast.tar with Python's tarfile and with GNU tar

Written with Python 3.11 and GNU tar 1.34.
"""
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile

FOLDER = pathlib.Path(__file__).parent / "tar"
DEEP = "folder/" + "d" * 90 + "/" + "n" * 70 + ".txt"
LONGEST = "x" * 130 + "/" + "y" * 140 + ".txt"
SHORT = {"a.txt": b"hello\n", "folder/empty.txt": b"", "folder/block.bin": b"b" * 512, "folder/more.bin": b"m" * 1025}
ALL = SHORT | {DEEP: b"deep", LONGEST: b"longest", "folder/smørrebrød.txt": b"utf-8"}


def write(name, files, form):
    with tarfile.open(FOLDER / name, "w", format=form) as tar:
        info = tarfile.TarInfo("folder")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def main():
    if sys.argv[1:] == ["--check"]:
        expected = {"a.txt": b"hello\n", "empty": b"", "block": b"b" * 512, DEEP: b"deep", LONGEST: b"longest",
                    "smørrebrød": b"utf-8"}
        with tarfile.open(FOLDER / "ballast.tar", encoding="utf-8") as tar:
            found = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
        assert found == expected, found.keys()
        with tempfile.TemporaryDirectory() as out:
            subprocess.run(["tar", "-xf", FOLDER / "ballast.tar", "-C", out], check=True)
            for name, content in expected.items():
                assert (pathlib.Path(out) / name).read_bytes() == content, name
        print("ballast.tar: read back by tarfile and GNU tar")
        return
    FOLDER.mkdir(exist_ok=True)
    write("ustar.tar", SHORT | {DEEP: b"deep"}, tarfile.USTAR_FORMAT)
    write("pax.tar", ALL, tarfile.PAX_FORMAT)
    write("gnu.tar", ALL, tarfile.GNU_FORMAT)
    with tempfile.TemporaryDirectory() as root:
        for path, content in ALL.items():
            file = pathlib.Path(root) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        common = ["tar", "-C", root, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]
        subprocess.run([*common, "--format=v7", "-cf", FOLDER / "v7.tar", *SHORT], check=True)
        subprocess.run([*common, "--format=gnu", "-cf", FOLDER / "gnutar.tar", "."], check=True)
        subprocess.run([*common, "--format=oldgnu", "-cf", FOLDER / "oldgnu.tar", "."], check=True)


main()

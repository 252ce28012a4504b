#!/usr/bin/env python3
"""Archives for archive_source_test.cpp, by Python's zipfile (3.11).   tests/golden/archives.py"""
import pathlib
import struct
import zipfile
import zlib

FOLDER = pathlib.Path(__file__).parent / "archives"


def png(value):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([value] * 60) for _ in range(20))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 20, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))


def write(name, files):
    with zipfile.ZipFile(FOLDER / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)


FOLDER.mkdir(exist_ok=True)
write("pictures.zip", {"photos/": b"", "photos/cat/0.png": png(10), "photos/cat/1.png": png(10), "photos/dog/0.png": png(200),
                       "photos/dog/1.PNG": png(200), "photos/readme.txt": b"x", "__MACOSX/photos/._0.png": b"x"})
write("bomb.zip", {"cat/0.png": b"\0" * (4 << 20), "dog/0.png": png(1)})
write("up.zip", {"cat/../../up.png": png(1), "dog/0.png": png(1)})

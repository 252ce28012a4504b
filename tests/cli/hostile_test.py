"""Hostile pictures: at least 300 files that are cut, changed or made to cost; none may crash, each bad one has a reason.

Usage: hostile_test.py PROGRAM
"""
import pathlib
import random
import resource
import struct
import time
import zlib

from support import Case, main, png, png_header

PHOTOS = pathlib.Path(__file__).parents[1] / "photos"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def big_png(width, height, depth=8, color=2, data=b"", interlace=0):
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)) +
            chunk(b"IDAT", data) + chunk(b"IEND", b""))


def jpeg_of_size(photo, width, height):
    """The same file with another size in its frame header."""
    at = photo.index(b"\xff\xc0")
    return photo[:at + 5] + struct.pack(">HH", height, width) + photo[at + 9:]


def hostile_files():
    draw = random.Random(7)
    photos = [p.read_bytes() for p in sorted(PHOTOS.rglob("*.jpg"))[:6]]
    small = png(20, 14, lambda x, y: (x * 9, y * 13, x * y % 256))
    for i, photo in enumerate(photos):
        for k in range(16):
            yield f"cut{i}_{k}.jpg", photo[:1 + len(photo) * k // 16]
        for k in range(16):
            broken = bytearray(photo)
            for _ in range(1 + 2 * k):
                at = draw.randrange(len(broken))
                broken[at] ^= 1 << draw.randrange(8)
            yield f"flip{i}_{k}.jpg", bytes(broken)
        for width, height in ((65500, 65500), (0, 10), (10, 0), (16385, 8), (1, 1), (65535, 1), (8000, 8000)):
            yield f"size{i}_{width}x{height}.jpg", jpeg_of_size(photo, width, height)
        end = photo.index(b"\xff\xda")
        yield f"scans{i}.jpg", photo[:end] + photo[end:end + 200] * 1000 + b"\xff\xd9"
        yield f"marker{i}.jpg", photo[:20] + b"\xff\xfe\xff\xff" + photo[20:40]
    for k in range(len(small)):
        if k % 3 == 0:
            yield f"cut{k}.png", small[:k]
    for k in range(40):
        broken = bytearray(small)
        broken[draw.randrange(8, len(broken))] ^= 1 << draw.randrange(8)
        yield f"flip{k}.png", bytes(broken)
    for width, height in ((65500, 65500), (2 ** 31 - 1, 1), (0, 5), (16384, 16384), (1, 100000)):
        yield f"size{width}x{height}.png", png_header(width, height)
    bomb = zlib.compressobj(9)
    yield "bomb.png", big_png(16000, 4000, data=bomb.compress(bytes(100_000_000)) + bomb.flush())
    yield "short_data.png", big_png(500, 500, data=zlib.compress(bytes(1000)))
    for depth, color in ((16, 2), (16, 0), (1, 0), (4, 3), (8, 4), (16, 6), (3, 2), (8, 5), (8, 9)):
        yield f"depth{depth}_{color}.png", big_png(9, 5, depth, color, zlib.compress(bytes(5 * (1 + 9 * 8))))
    yield "interlaced.png", big_png(9, 5, interlace=1, data=zlib.compress(bytes(400)))
    yield "empty.jpg", b""
    yield "text.png", b"this is no picture\n" * 50
    yield "gif.jpg", b"GIF89a" + bytes(100)
    yield "bmp.png", b"BM" + bytes(200)
    yield "tiff.jpg", b"II*\0" + bytes(200)
    yield "heic.jpg", b"\0\0\0\x18ftypheic" + bytes(100)
    yield "zeros.jpg", bytes(5000)
    yield "ones.png", b"\xff" * 5000
    vp8x = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\x0f\0\0" * 2
    anim = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body = b"WEBP" + vp8x + anim
    yield "animated.webp", b"RIFF" + struct.pack("<I", len(body)) + body
    for k in range(12):
        yield f"riff{k}.webp", b"RIFF" + struct.pack("<I", 4 + k * 7) + b"WEBP" + bytes(draw.randrange(256) for _ in range(k * 7))


class Hostile(Case):
    def test_no_file_crashes_and_each_bad_one_has_its_reason(self):
        names = []
        for label in ("good", "bad"):
            (self.dir / "set" / "train" / label).mkdir(parents=True)
        for i in range(6):
            (self.dir / "set" / "train" / "good" / f"{i}.png").write_bytes(png(24, 24, lambda x, y: (x * 9 + i, y * 9, 60)))
        for name, data in hostile_files():
            (self.dir / "set" / "train" / "bad" / name).write_bytes(data)
            names.append(name)
        (self.dir / "set" / "train" / "bad" / "folder.jpg").mkdir()
        self.assertGreaterEqual(len(names), 300)
        begin = time.monotonic()
        result = self.run_in("data", "check", "set", "--json", timeout=300)
        seconds = time.monotonic() - begin
        self.assertEqual(result.code, 3, result.err)
        report = result.json()
        text = result.out
        reasons = {"empty", "not_an_image", "too_large", "too_many_scans", "truncated", "corrupt", "unsupported", "animated"}
        found = {r for r in reasons if f'"{r}"' in text}
        self.assertGreaterEqual(len(found), 6, f"reasons found: {found}")
        for name in ("empty.jpg", "text.png", "size0_65500x65500.jpg", "bomb.png", "animated.webp", "heic.jpg", "cut0_3.jpg"):
            self.assertIn(name, text)
        self.assertLess(seconds, len(names) * 1.0, "a second a file")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        self.assertLess(peak, 256 + 64 + 192, "MiB: the limit of a decoder, and the largest picture's pixels")
        self.assertTrue(report)

    def test_a_preview_names_them_and_goes_on(self):
        (self.dir / "few").mkdir()
        (self.dir / "few" / "a.png").write_bytes(png(24, 24, lambda x, y: (x * 9, y * 9, 60)))
        (self.dir / "few" / "b.jpg").write_bytes(b"")
        (self.dir / "few" / "c.png").write_bytes(b"no picture")
        result = self.run_in("augment", "preview", "few", "--out", "sheet.png")
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("b.jpg", result.err)
        self.assertIn("c.png", result.err)


if __name__ == "__main__":
    main()

"""Commands that look at data and pack them; no torch. Usage: data_test.py PROGRAM"""
import csv
import json
import shutil
import tarfile
import zipfile

from support import Case, main, make_photos, png


class Pack(Case):
    def test_every_form_of_a_data_set_is_the_same_data_set(self):
        photos = make_photos(self.dir / "photos")
        with tarfile.open(self.dir / "photos.tar", "w") as archive:
            archive.add(photos, "photos")
        with zipfile.ZipFile(self.dir / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(photos.rglob("*.png")):
                archive.write(file, file.relative_to(photos))
        with open(photos / "list.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "label"])
            for picture in sorted(photos.rglob("*.png")):
                rows.writerow([picture.relative_to(photos), picture.parent.name])
        packed = self.run_in("pack", "photos", "photos.bpk")
        self.assertEqual(packed.code, 0, packed.err)
        self.assertIn("48 pictures", packed.out)
        shards = self.run_in("pack", "photos", "shards", "--shards", "--json")
        self.assertEqual(shards.json()["pictures"], 48)
        self.assertEqual(len(list((self.dir / "shards").glob("data-*.tar"))), 1)
        expected = self.run_in("data", "check", "photos", "--json").json()
        for form, path in [("tar", "photos.tar"), ("zip", "photos.zip"), ("csv", "photos/list.csv"), ("packed", "photos.bpk"),
                           ("tar", "shards")]:
            found = self.run_in("data", "check", path, "--json").json()
            self.assertEqual(found["format"], form)
            for key in ["classes", "counts", "mean", "std", "readable", "height", "width", "ok"]:
                self.assertEqual(found[key], expected[key], f"{path}: {key}")

    def test_broken_pictures_are_named(self):
        photos = make_photos(self.dir / "photos", count=4)
        (photos / "cat/001.png").write_bytes(b"no picture")
        result = self.run_in("pack", "photos", "photos.bpk")
        self.assertEqual(result.code, 0)
        self.assertIn("warning: 1 picture cannot be used (first: cat/001.png: not_an_image", result.err)
        result = self.run_in("pack", "photos", "shards", "--shards")
        self.assertIn("warning: 1 picture cannot be used and left out", result.err)

    def test_refusals(self):
        make_photos(self.dir / "photos", count=4)
        self.refused(self.run_in("pack", "photos"), 2)
        self.refused(self.run_in("pack", "photos", "out/"), 2, "OUT is a folder")
        self.refused(self.run_in("pack", "photos", "x.bpk", "--short-side", "20"), 2, "needs --store jpeg or --store raw")
        self.refused(self.run_in("pack", "photos", "s", "--shards", "--store", "raw"), 2, "shards hold files")
        self.refused(self.run_in("pack", "nothing/here", "x.bpk"), 3, "no such file or folder")
        self.refused(self.run_in("pack", "photos", "no/folder/x.bpk"), 6, "cannot write no/folder/x.bpk: No such file or directory")
        self.assertEqual(self.run_in("pack", "photos", "x.bpk").code, 0)
        self.refused(self.run_in("pack", "photos", "x.bpk"), 2, "x.bpk is there already; --overwrite replaces it")
        self.assertEqual(self.run_in("pack", "photos", "x.bpk", "--overwrite").code, 0)

    def test_a_damaged_cache_is_told(self):
        make_photos(self.dir / "photos", count=4)
        self.run_in("pack", "photos", "x.bpk")
        whole = (self.dir / "x.bpk").read_bytes()
        (self.dir / "cut.bpk").write_bytes(whole[:-100])
        self.refused(self.run_in("data", "check", "cut.bpk"), 3, "it is truncated")
        flipped = bytearray(whole)
        at = whole.index(b"IDAT") + 10
        flipped[at] ^= 1
        (self.dir / "flip.bpk").write_bytes(flipped)
        result = self.run_in("data", "check", "flip.bpk")
        self.assertEqual(result.code, 3)
        self.assertIn("CRC-32", result.out)


class Check(Case):
    def test_the_page_shows_what_is_wrong(self):
        photos = make_photos(self.dir / "photos" / "train")
        make_photos(self.dir / "photos" / "test", count=2, seed=9)
        shutil.copy(photos / "cat/000.png", self.dir / "photos/test/cat/leak.png")
        (photos / "dog/<b>.png").write_bytes(b"no picture")
        result = self.run_in("data", "check", "photos", "--page", "data.html", "--json-file", "data.json")
        self.assertEqual(result.code, 3)
        page = (self.dir / "data.html").read_text()
        for text in ["1 picture in several parts", "1 file that cannot be used", "dog/&lt;b&gt;.png", "data:image/png;base64,",
                     "2 pictures in test, train, labelled cat"]:
            self.assertIn(text, page)
        report = json.loads((self.dir / "data.json").read_text())
        self.assertEqual(report["leaks"], 1)
        self.assertEqual(report["duplicates"][0]["names"], ["train/cat/000.png", "test/cat/leak.png"])
        self.refused(self.run_in("data", "check", "photos", "--page", "no/folder/x.html"), 6, "cannot write no/folder/x.html")

    def test_without_near(self):
        photos = make_photos(self.dir / "photos")
        for level in [100, 103]:
            (photos / f"cat/flat{level}.png").write_bytes(png(20, 20, lambda x, y: (level, level, level)))
        self.assertEqual(self.run_in("data", "check", "photos", "--json").json()["near_duplicates"][0]["names"],
                         ["cat/flat100.png", "cat/flat103.png"])
        self.assertEqual(self.run_in("data", "check", "photos", "--no-near", "--json").json()["near_duplicates"], [])


if __name__ == "__main__":
    main()

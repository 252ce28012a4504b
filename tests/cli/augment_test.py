"""Augmentation from the command line: every operation and policy does something, says what, and does it again.

Usage: augment_test.py PROGRAM
"""
import json
import re

from support import Case, main, png

# What each operation is called with, so that it applies; those with a default need no entry.
ARGUMENTS = {
    "horizontal_flip": "1", "vertical_flip": "1", "rotate": "30", "affine": "20, 0.1, 0.8..1.2, 10", "shear_x": "0.3",
    "shear_y": "0.3", "translate_x": "10", "translate_y": "10", "perspective": "0.5, p=1", "resize": "20",
    "random_resized_crop": "24", "random_crop": "20", "center_crop": "20", "pad": "3", "scale_jitter": "30",
    "random_shortest_size": "[20, 24]", "five_crop": "20", "ten_crop": "20", "zoom_out": "p=1", "safe_crop": "24", "brightness": "1.4", "contrast": "1.5",
    "saturation": "1.6", "hue": "0.2", "color_jitter": "0.4, 0.4, 0.4, 0.1", "photometric_distort": "p=1", "grayscale": "1",
    "invert": "1", "posterize": "3", "channel_shuffle": "1", "autocontrast": "1", "equalize": "1", "sharpness": "1.8",
    "rgb_shift": "20", "random_erasing": "1", "one_of": "invert(1), vflip(1)", "some_of": "2, invert(1), vflip(1), hflip(1)",
    "any_order": "invert(1), solarize(100)", "maybe": "0.9, invert(1)", "pixel_dropout": "0.05", "cutout": "10",
    "hide_and_seek": "[8, 12]", "clahe": "1..4, 2",
}
# These need what a picture alone does not give, or say nothing about pixels.
LEFT_OUT = {"identity", "normalize", "iou_crop"}


class Augment(Case):
    def setUp(self):
        super().setUp()
        photos = self.dir / "photos"
        photos.mkdir()
        for i in range(2):
            (photos / f"{i}.png").write_bytes(
                png(40, 32, lambda x, y: ((50 + x * 4 + i * 9) % 256, 60 + (y * 5) % 120, (x * y // 3 + 40 * i) % 200)))

    def drawn(self, pipeline, *more):
        result = self.run_in("augment", "preview", "photos", "--pipeline", pipeline, "--draws", "6", "--out", "sheet.png",
                             "--json", *more)
        self.assertEqual(result.code, 0, f"{pipeline}: {result.err}")
        return result.json()["drawn"]

    def hashes(self, pipeline, *more):
        return [row["sha256"] for row in self.drawn(pipeline, *more)]

    def test_every_operation_and_policy_changes_pixels(self):
        rows = self.run_in("augment", "list", "--json").json()
        self.assertGreater(len(rows), 60)
        same = self.hashes("identity")
        for row in rows:
            if row["name"] in LEFT_OUT:
                continue
            name = row["name"]
            calls = ["rand-m9-mstd0.5-inc1", "augmix-m5-w4-d2", "original-mstd0.5", "originalr", "3a"] if name == "timm" else [
                f"{name}({ARGUMENTS.get(name, '')})"]
            if name == "auto_augment":
                calls += ["auto_augment(cifar10)", "auto_augment(svhn)"]
            for call in calls:
                with self.subTest(call):
                    got = self.hashes(call)
                    self.assertGreater(sum(a != b for a, b in zip(got, same)), len(same) // 4, "pixels are those without it")
                    self.assertEqual(got, self.hashes(call), "the same seed gives the same pixels")
                    if row["random"] and name not in ("transpose", "horizontal_flip", "vertical_flip", "invert", "grayscale",
                                                      "autocontrast", "equalize", "median_blur", "solarize", "posterize",
                                                      "brightness", "contrast", "saturation", "sharpness", "any_order"):
                        self.assertNotEqual(got, self.hashes(call, "--seed", "1"), "another seed gives others")

    def test_what_was_drawn_stands_beside_it(self):
        row = self.drawn("rotate(10..20) | erase(1)")[0]
        self.assertEqual([s["step"] for s in row["steps"]], ["rotate", "erase"])
        self.assertTrue(10 <= row["steps"][0]["values"][0] <= 20)
        result = self.run_in("augment", "preview", "photos", "--augment", "strong", "--out", "page.html")
        self.assertEqual(result.code, 0, result.err)
        page = (self.dir / "page.html").read_text()
        self.assertIn("What was drawn", page)
        self.assertGreater(page.count("data:image/png;base64,"), 10)

    def test_mixed_pictures_say_with_whom(self):
        plain = self.drawn("resize([32, 32])")
        mixed = self.drawn("resize([32, 32])", "--mixup", "1", "--cutmix", "1")
        steps = [row["steps"] for row in mixed if row["steps"]]
        self.assertGreater(len(steps), len(mixed) // 2)
        self.assertEqual({(kind["step"], whom["step"]) for kind, whom in steps},
                         {(kind, f"with {i}.png") for kind in ("mixup", "cutmix") for i in range(2)})
        for kind, _ in steps:
            self.assertTrue(0 <= kind["values"][0] < 1)
        self.assertNotEqual([row["sha256"] for row in plain], [row["sha256"] for row in mixed])
        self.refused(self.run_in("augment", "preview", "photos/0.png", "--mixup", "1"), 2, "mixing needs two pictures, got 1")
        self.refused(self.run_in("augment", "preview", "photos", "--mixup", "1", "--pipeline", "rotate(30, expand=true)"), 2,
                     "samples must have one size")

    def test_views_are_drawn_one_after_the_other(self):
        hashes = self.hashes("ten_crop(20)")
        self.assertEqual(len(set(hashes)), len(hashes), "six views of two pictures")
        shown = self.run_in("augment", "explain", "resize(40) | ten_crop(32)")
        self.assertIn("10 views, for evaluation only", shown.out)
        self.refused(self.run_in("augment", "explain", "maybe(0.5, ten_crop(8))"), 2, "ten_crop must not stand inside of another step")

    def test_mistakes_name_their_column(self):
        for pipeline, message in [
            ("rrc(224) | hflip | jiter(0.4)", 'column 20: "jiter" is not an operation, did you mean "jitter"?'),
            ("jitter(0.4,0.4,0.4,0.1,3)", "column 24: jitter takes at most 4 positional values (brightness, contrast, saturation, hue), got 5"),
            ("rotate([30, -30])", "column 8: rotate: degrees must be an increasing pair in [-360, 360], got [30, -30]"),
            ("hue(fator=0.1)", 'column 5: hue has no option "fator", did you mean "factor"?'),
            ("invert(1) | rand-m9-mst0.5", 'unknown section "mst0.5" at column 9 of "rand-m9-mst0.5", did you mean "mstd0.5"?'),
            ("erase(0.5, value=[1, 2])", "column 1: [random_erasing] value needs 1 or 3 numbers, got 2"),
            ("resize(224, max_size=200)", "[resize] max_size must be larger than size, got 200 <= 224"),
            ("normalize(imagenet) | hue(0.1)", 'column 23: step 2 "hue" needs pixels in [0, 255], but step 1 "normalize" ended that range'),
            ("some_of(3, invert(1))", "column 1: [some_of] n must be at most 1, the number of pipelines, got 3"),
            ("gaussian_blur(4)", "column 1: [gaussian_blur] kernel_size must be odd, or auto, got 4"),
            ("one_of(hflip", 'column 13: expected "," or ")", got the end'),
            ("v0-m9", '"v0" comes from no paper'),
        ]:
            self.refused(self.run_in("augment", "explain", pipeline), 2, message)
        self.refused(self.run_in("augment", "preview", "photos", "--pipeline", "random_crop(64)"), 2,
                     "[random_crop] 64x64 does not fit the padded 32x40 image")
        self.refused(self.run_in("augment", "preview", "photos", "--pipeline", "iou_crop"), 2,
                     "[iou_crop] needs boxes, the source gives none")

    def test_explain_prints_what_parses_again(self):
        text = "rrc(224, scale=10%..1) | one_of(rot(15), hflip | invert(1); weights=[1, 2]) | rand-m9-inc1 | erase(0.25)"
        first = self.run_in("augment", "explain", text, "--json").json()
        self.assertEqual((first["height"], first["width"], first["random"]), (224, 224, True))
        again = self.run_in("augment", "explain", first["pipeline"], "--json").json()
        self.assertEqual(again["pipeline"], first["pipeline"])

    def test_toml_tables_are_the_same_pipeline(self):
        text = ("rrc(24, scale=10%..1) | one_of(rot(15), hflip | invert(1); weights=[1, 2]) | rand-m9-inc1 | some_of(1, invert(1), vflip) | "
                "pad(2, fill=mean, padding_mode=reflect) | normalize(imagenet) | erase(0.25, count=[1, 2])")
        tables = self.run_in("augment", "explain", text, "--as", "toml")
        self.assertEqual(tables.code, 0, tables.err)
        (self.dir / "a.toml").write_text(tables.out)
        back = self.run_in("augment", "explain", "a.toml", "--json").json()
        self.assertEqual(back["pipeline"], self.run_in("augment", "explain", text, "--json").json()["pipeline"])
        self.assertEqual(self.run_in("augment", "explain", "a.toml", "--as", "toml").out, tables.out)
        (self.dir / "b.toml").write_text('[[augment.train]]\nop = "hflip"\n\n[[augment.train]]\nop = "jiter"\n')
        self.refused(self.run_in("augment", "explain", "b.toml"), 2, 'b.toml:4:1', 'did you mean "jitter"?')

    def test_explain_says_what_is_one_pass(self):
        one = self.run_in("augment", "explain", "rotate(5..5) | resize(200) | hflip(1)", "--json").json()["passes"]
        self.assertEqual(one, "one warp of 3 steps to 266 x 200")
        steps = self.run_in("augment", "explain", "rotate(5..5) | resize(200) | hflip(1)", "--semantics", "sequential", "--json").json()
        self.assertEqual(steps["passes"].count("then"), 2)

    def test_boxes_follow_in_the_preview(self):
        (self.dir / "set").mkdir()
        (self.dir / "set" / "0.png").write_bytes(
            png(40, 32, lambda x, y: (250, 0, 0) if 4 <= x < 14 and 6 <= y < 26 else (0, 0, 30)))
        (self.dir / "set" / "a.json").write_text(json.dumps({
            "images": [{"id": 1, "file_name": "0.png", "width": 40, "height": 32}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [4, 6, 10, 20]}],
            "categories": [{"id": 3, "name": "bar"}]}))
        result = self.run_in("augment", "preview", "set/a.json", "--pipeline", "hflip(1) | resize([64, 80])", "--draws", "1",
                             "--out", "boxes.png", "--json")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.json()["drawn"][0]["boxes"], [[52, 12, 72, 52]])
        cropped = self.run_in("augment", "preview", "set/a.json", "--pipeline", "iou_crop(options=[0.1], scale=[0.3, 0.6])", "--draws", "8",
                              "--out", "boxes.html", "--json").json()["drawn"]
        self.assertTrue(all(len(draw["boxes"]) == 1 for draw in cropped))
        self.assertTrue(all(draw["width"] < 40 for draw in cropped))

    def test_list_and_bench(self):
        self.assertIn("degrees", self.run_in("augment", "list", "rotate").out)
        self.refused(self.run_in("augment", "list", "rotat"), 2, 'did you mean "rotate"?')
        result = self.run_in("augment", "bench", "--pipeline", "rot(15)", "--seconds", "0.02", "--size", "32", "--json")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(len(result.json()), 2)


if __name__ == "__main__":
    main()

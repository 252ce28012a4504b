#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/data/box_set.h>
#include <ballast/data/test_data.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace ballast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string box_text(const AnnotatedBox& b) {
  std::ostringstream out;
  out << b.label << ": " << b.x1 << ' ' << b.y1 << ' ' << b.x2 << ' ' << b.y2;
  return out.str();
}
std::vector<std::string> texts(const AnnotatedPicture& p) {
  std::vector<std::string> result;
  for (const AnnotatedBox& b : p.boxes) {
    result.push_back(box_text(b));
  }
  return result;
}

const std::string kVoc =
    "<?xml version=\"1.0\"?><!-- by hand --><annotation verified='yes'><filename>p.png</filename><size><width>20</width><height>10</height></size>"
    "<object><name>cat &amp; dog</name><part><name>head</name></part><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax> 10 </ymax></bndbox></object>"
    "<object><name><![CDATA[bird]]></name><bndbox><ymin>3</ymin><xmin>5.5</xmin><xmax>5.5</xmax><ymax>4</ymax></bndbox></object></annotation>\n";
const std::string kCoco =
    R"({"images": [{"id": 7, "file_name": "p.png", "width": 20, "height": 10}, {"id": 9, "file_name": "q.png"}],
        "categories": [{"id": 90, "name": "z"}, {"id": 3, "name": "a"}],
        "annotations": [{"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4.5]}, {"image_id": 9, "category_id": 3, "bbox": [-5, 0, 5, 5]},
                        {"image_id": 7, "category_id": 3, "iscrowd": 1, "bbox": [0, 0, 1, 1]}]})";

class Boxes : public testing::Test {
 protected:
  Boxes() {
    for (const char* name : {"voc/JPEGImages/p.png", "coco/images/p.png", "coco/images/q.png", "yolo/images/train/p.png", "yolo/images/train/none.png"}) {
      write_bytes(folder_ / name, encode_png(test_picture(1, 10, 20)));
    }
    write_text(folder_ / "voc/Annotations/p.xml", kVoc);
    write_text(folder_ / "coco/x.json", kCoco);
    write_text(folder_ / "yolo/labels/train/p.txt", "1 0.5 0.5 0.5 0.2\n\n0 0.1 0.1 0.3 0.1 0.2 0.9\n");
    write_text(folder_ / "yolo/data.yaml", "path: .\nnames:\n  0: cat\n  1: 'big dog'\nother: 1\n");
  }
  std::string error(const std::string& path, const BoxSetOptions& o = {}) {
    return message_of<DataError>([&] { open_boxes(folder_ / path, o); });
  }
  TempFolder folder_;
};

TEST_F(Boxes, ReadsVoc) {
  const BoxSet set = open_boxes(folder_ / "voc");
  EXPECT_EQ(set.format, "voc");
  EXPECT_THAT(set.classes, ElementsAre("bird", "cat & dog"));
  ASSERT_EQ(set.pictures.size(), 1U);
  EXPECT_THAT(texts(set.pictures[0]), ElementsAre("1: 0 1 20 10", "0: 4.5 2 5.5 4"));
  EXPECT_THAT(texts(open_boxes(folder_ / "voc", {.images = "", .voc_base = 0}).pictures[0]), ElementsAre("1: 1 2 20 10", "0: 5.5 3 5.5 4"));
  std::string zero = kVoc;
  zero.replace(zero.find("<xmin>1<"), 8, "<xmin>0<");
  write_text(folder_ / "voc/Annotations/p.xml", zero);
  EXPECT_THAT(texts(open_boxes(folder_ / "voc").pictures[0])[0], "1: 0 2 20 10");
}

TEST_F(Boxes, ReadsCoco) {
  const BoxSet set = open_boxes(folder_ / "coco/x.json");
  EXPECT_THAT(set.classes, ElementsAre("a", "z"));
  ASSERT_EQ(set.pictures.size(), 2U);
  EXPECT_EQ(set.pictures[0].path, folder_ / "coco/images/p.png");
  EXPECT_THAT(texts(set.pictures[0]), ElementsAre("1: 1 2 4 6.5"));
  EXPECT_THAT(texts(set.pictures[1]), ElementsAre("0: -5 0 0 5"));
  EXPECT_THAT(set.notes, ElementsAre("1 crowds are left out"));
}

TEST_F(Boxes, ReadsYoloBoxesAndPolygons) {
  const BoxSet set = open_boxes(folder_ / "yolo");
  EXPECT_THAT(set.classes, ElementsAre("cat", "big dog"));
  ASSERT_EQ(set.pictures.size(), 2U);
  EXPECT_THAT(texts(set.pictures[0]), IsEmpty());
  EXPECT_THAT(texts(set.pictures[1]), ElementsAre("1: 5 4 15 6", "0: 2 1 6 9"));
  write_text(folder_ / "yolo/data.yaml", "names: [cat, \"dog\"]\n");
  EXPECT_THAT(open_boxes(folder_ / "yolo").classes, ElementsAre("cat", "dog"));
}

TEST_F(Boxes, TheCheckNamesWhatHarms) {
  BoxCheckReport report = check_boxes(open_boxes(folder_ / "coco/x.json"));
  ASSERT_EQ(report.problems.size(), 1U);
  EXPECT_EQ(report.problems[0].reason, "outside");
  EXPECT_THAT(report.text(), HasSubstr("q.png box 0: outside: -5, 0 to 0, 5 in 20x10"));
  EXPECT_THAT(report.counts, ElementsAre(1, 1));
  BoxSet set = open_boxes(folder_ / "voc", {.images = "", .voc_base = 0});
  set.pictures[0].w = 21;
  set.pictures[0].boxes.push_back({NAN, 0, 1, 1, 0});
  set.pictures[0].boxes.push_back({3, 0, 4, 9, 0});
  set.pictures.push_back({folder_ / "gone.png", 0, 0, {}});
  report = check_boxes(set);
  std::vector<std::string> reasons;
  for (const BoxProblem& p : report.problems) {
    reasons.push_back(p.reason);
  }
  EXPECT_THAT(reasons, ElementsAre("other_size", "empty", "not_finite", "one_pixel", "missing"));
  EXPECT_FALSE(report.ok());
  EXPECT_THAT(report.json(), HasSubstr("\"reason\": \"one_pixel\""));
}

TEST_F(Boxes, NamesWhatIsWrong) {
  write_text(folder_ / "voc/Annotations/p.xml", "<annotation><filename>../p.png</filename></annotation>");
  EXPECT_THAT(error("voc"), HasSubstr("filename must be a name, got \"../p.png\""));
  write_text(folder_ / "voc/Annotations/p.xml", "<annotation><filename>p.png</filename><object><name>x</name></object></annotation>");
  EXPECT_THAT(error("voc"), HasSubstr("object must have an element bndbox"));
  write_text(folder_ / "yolo/labels/train/p.txt", "0 1 2\n");
  EXPECT_THAT(error("yolo"), HasSubstr("p.txt: line 1: must have 5 values, or a class and 3 or more points, got 3 values"));
  write_text(folder_ / "yolo/labels/train/p.txt", "2 0.5 0.5 1 1\n");
  EXPECT_THAT(error("yolo"), HasSubstr("line 1: class must be an integer in [0, 2), got 2"));
  write_text(folder_ / "yolo/labels/train/p.txt", "x 0.5 0.5 1 1\n");
  EXPECT_THAT(error("yolo"), HasSubstr("a value must be a number, got \"x\""));
  for (const auto& [from, to, text] : {std::tuple{"\"image_id\": 9", "\"image_id\": 8", "must name an image of the file, got id 8"},
                                       {"\"category_id\": 3,", "\"category_id\": 4,", "must name a category of the file, got id 4"},
                                       {"[-5, 0, 5, 5]", "[-5, 0, 5]", "bbox must have 4 numbers, got 3"},
                                       {"\"id\": 9", "\"id\": 7", "must have each image id once"}}) {
    std::string bad = kCoco;
    bad.replace(bad.find(from), std::string_view(from).size(), to);
    write_text(folder_ / "coco/x.json", bad);
    EXPECT_THAT(error("coco/x.json"), HasSubstr(text));
  }
  EXPECT_THAT(error("coco"), HasSubstr("must be a VOC or YOLO folder or a COCO file"));
}

TEST(Xml, RefusesWhatIsNotPlain) {
  const auto error = [](const std::string& text) { return message_of<DataError>([&] { parse_xml(text, "x.xml"); }); };
  EXPECT_EQ(parse_xml("<a x='1' y=\"2\"><b/>t&#65;&#x263a;<!-- c --><?p?></a>", "x").text, "tA\xe2\x98\xba");
  EXPECT_THAT(error("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>"), HasSubstr("[xml] x.xml: a document type is not read at byte 0"));
  EXPECT_THAT(error("<a>&x;</a>"), HasSubstr("an entity must be lt, gt, amp, quot, apos or a number"));
  EXPECT_THAT(error("<a></b>"), HasSubstr("must be closed by its own name"));
  EXPECT_THAT(error("<a>"), HasSubstr("an element is not closed"));
  EXPECT_THAT(error("<a/>x"), HasSubstr("nothing may stand behind"));
  EXPECT_THAT(error("<a x=1/>"), HasSubstr("value must stand in quotes"));
  EXPECT_THAT(error("<a><!-- "), HasSubstr("is not closed"));
  EXPECT_THAT(error("<a>&#xD800;</a>"), HasSubstr("must be valid"));
  std::string deep;
  for (int i = 0; i < 100000; ++i) {
    deep += "<a>";
  }
  EXPECT_THAT(error(deep), HasSubstr("must not be nested deeper than 64"));
}

// Keyed damage to each format: an error or boxes, never a crash.
TEST_F(Boxes, DamageIsAnErrorNeverACrash) {
  std::mt19937 random(3);
  int refused = 0;
  const auto damage = [&](std::string text) {
    for (uint32_t k = 0; k < 1 + random() % 3; ++k) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0: text[at] = static_cast<char>(random()); break;
        case 1: text.erase(at, 1 + random() % 9); break;
        case 2: text.insert(at, text.substr(random() % text.size(), random() % 20)); break;
        default: text[at] = "<>&\"'{}[],:0-eE."[random() % 16];
      }
      if (text.empty()) {
        text = " ";
      }
    }
    return text;
  };
  for (int i = 0; i < 300; ++i) {
    write_text(folder_ / "voc/Annotations/p.xml", damage(kVoc));
    write_text(folder_ / "coco/x.json", damage(kCoco));
    write_text(folder_ / "yolo/labels/train/p.txt", damage("1 0.5 0.5 0.5 0.2\n0 0.1 0.1 0.3 0.1 0.2 0.9\n"));
    write_text(folder_ / "yolo/data.yaml", damage("names:\n  0: cat\n  1: dog\n"));
    for (const char* path : {"voc", "coco/x.json", "yolo"}) {
      refused += error(path) != "nothing thrown";
    }
  }
  EXPECT_GT(refused, 200);
}

}  // namespace
}  // namespace ballast

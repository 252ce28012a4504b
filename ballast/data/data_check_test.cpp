#include <ballast/data/data_check.h>
#include <ballast/data/test_data.h>
#include <ballast/image/resize.h>
#include <ballast/image/test_files.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ballast {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

DataCheckReport check_folder(const std::string& path) {
  return check_data(open_data({.source = path}, Key(0)));
}

TEST(DataCheck, ACleanFolderIsOk) {
  TempFolder folder;
  write_classes(folder.str(), {{"a", 30}, {"b", 50}});
  const DataCheckReport report = check_folder(folder.str());
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.readable, 80);
  EXPECT_THAT(report.counts[0], ElementsAre(24, 40));
  EXPECT_EQ(report.png, 80);
  EXPECT_EQ(report.color, 80);
  EXPECT_EQ(report.height.min, 12);
  EXPECT_EQ(report.width.max, 10);
  EXPECT_TRUE(report.duplicates.empty());
  const auto doc = nlohmann::json::parse(report.json());
  EXPECT_EQ(doc["ok"], true);
  EXPECT_EQ(doc["counts"]["train"][1], 40);
  EXPECT_THAT(report.text(), HasSubstr("readable      80 of 80"));
}

TEST(DataCheck, SeveralLabelsCountForEachClass) {
  TempFolder folder;
  write_classes(folder.str(), {{"a", 30}});
  std::string csv = "path,label,role\n";
  for (int i = 0; i < 30; ++i) {
    csv += std::string("a/") + (i < 10 ? "0" : "") + std::to_string(i) + ".png," + (i % 3 == 0 ? "x;y" : i % 3 == 1 ? "y" : "") + ",train\n";
  }
  // The same picture once more: under the same set, written the other way round; then under another.
  write_text(folder / "same.csv", csv + "a/00.png,y;x,train\n");
  const auto check = [&](const char* name) {
    return check_data(open_data({.source = folder / name, .split_val = 0, .split_test = 0}, Key(0)));
  };
  const DataCheckReport same = check("same.csv");
  EXPECT_THAT(same.counts[0], ElementsAre(11, 21));
  EXPECT_EQ(same.sizes[0], 31);
  ASSERT_EQ(same.duplicates.size(), 1u);
  EXPECT_EQ(same.conflicts(), 0);
  EXPECT_THAT(same.tiny_classes, ElementsAre("x"));
  EXPECT_TRUE(same.ok());
  write_text(folder / "other.csv", csv + "a/00.png,x,train\n");
  EXPECT_EQ(check("other.csv").conflicts(), 1);
}

TEST(DataCheck, MeanAndStdAreThoseOfTrain) {
  TempFolder folder;
  write_classes(folder / "train", {{"a", 20}, {"b", 20}});
  const DataSet data = open_data({.source = folder.str(), .split_val = 0, .split_test = 0}, Key(0));
  const DataCheckReport report = check_data(data, {.threads = 3});
  ASSERT_EQ(report.mean.size(), 3u);
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(report.mean[c], data.normalize.mean[c], 1e-6);
    EXPECT_NEAR(report.std[c], data.normalize.std[c], 1e-6);
  }
}

TEST(DataCheck, FindsLeaksConflictsAndBrokenFiles) {
  TempFolder folder;
  write_classes(folder / "train", {{"a", 25}, {"b", 5}});
  write_classes(folder / "test", {{"a", 3}, {"b", 3}}, 1);
  fs::copy_file(folder / "train/a/00.png", folder / "test/a/leak.png");
  fs::copy_file(folder / "train/a/01.png", folder / "train/b/conflict.png");
  // The same pixels in other bytes.
  write_bytes(folder / "train/a/again.png", encode_png(test_picture(77)));
  std::vector<std::byte> longer = encode_png(test_picture(77));
  longer.push_back(std::byte{0});
  write_bytes(folder / "train/b/again.png", longer);
  write_text(folder / "train/a/text.jpg", "not a picture at all");
  const DataCheckReport report =
      check_data(open_data({.source = folder.str(), .split_val = 0}, Key(0)));
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.leaks(), 1);
  EXPECT_EQ(report.conflicts(), 2);
  ASSERT_EQ(report.duplicates.size(), 3u);
  ASSERT_EQ(report.bad.size(), 1u);
  EXPECT_EQ(report.bad[0].path, "train/a/text.jpg");
  EXPECT_EQ(report.bad[0].reason, BadReason::not_an_image);
  EXPECT_THAT(report.tiny_classes, ElementsAre("b"));
  EXPECT_THAT(report.text(), HasSubstr("train/a/00.png = test/a/leak.png"));
  EXPECT_THAT(report.text(), HasSubstr("train/a/text.jpg: not_an_image: "));
  EXPECT_EQ(nlohmann::json::parse(report.json())["leaks"], 1);
}

TEST(DataCheck, FindsPicturesThatLookAlike) {
  TempFolder folder;
  write_classes(folder / "train", {{"a", 25}, {"b", 25}});
  write_classes(folder / "test", {{"a", 2}, {"b", 2}}, 7);
  const Image photo = test::picture(90, 70, 3);
  write_bytes(folder / "train/a/photo.jpg", encode_jpeg(photo, 95));
  write_bytes(folder / "test/b/smaller.jpg", encode_jpeg(resize(photo, 60, 47), 70));
  const DataSet data = open_data({.source = folder.str(), .split_val = 0}, Key(0));
  const DataCheckReport report = check_data(data);
  std::vector<std::string> names;
  for (const auto& group : report.near_duplicates) {
    if (std::find(group.names.begin(), group.names.end(), "train/a/photo.jpg") != group.names.end()) {
      names = group.names;
      EXPECT_TRUE(group.leak);
      EXPECT_TRUE(group.conflict);
    }
  }
  EXPECT_THAT(names, ElementsAre("train/a/photo.jpg", "test/b/smaller.jpg"));
  EXPECT_TRUE(report.ok());  // it may be another photo: a human looks
  EXPECT_THAT(report.text(), HasSubstr("train/a/photo.jpg ~ test/b/smaller.jpg"));
  EXPECT_THAT(check_data(data, {.near_duplicates = false}).near_duplicates, testing::IsEmpty());
  EXPECT_EQ(report.side_bins[1], (std::pair<std::string, int64_t>("33 to 64", 1)));
  EXPECT_EQ(report.side_bins[2], (std::pair<std::string, int64_t>("65 to 128", 1)));
}

TEST(DataCheck, AClassWhoseFilesAreAllBrokenIsEmpty) {
  TempFolder folder;
  write_classes(folder / "train", {{"a", 25}});
  write_text(folder / "train/b/x.png", "no");
  const DataCheckReport report =
      check_data(open_data({.source = folder.str(), .split_val = 0, .split_test = 0}, Key(0)));
  EXPECT_THAT(report.empty_classes, ElementsAre("train: b"));
}

TEST(DataCheck, PixelsOfIdxFiles) {
  TempFolder folder;
  write_text(folder / "train-images-idx3-ubyte",
             idx_text({4, 1, 2}, std::string("\0\1\2\3\0\1\5\5", 8)));
  write_text(folder / "train-labels-idx1-ubyte", idx_text({4}, std::string("\0\1\1\0", 4)));
  const DataCheckReport report =
      check_data(open_data({.source = folder.str(), .split_val = 0, .split_test = 0}, Key(0)));
  EXPECT_EQ(report.raw, 4);
  EXPECT_EQ(report.conflicts(), 1);
}

}  // namespace
}  // namespace ballast

#include <ballast/train/run_report.h>

#include <filesystem>
#include <string>

#include <ballast/data/data_set.h>
#include <ballast/data/loader.h>
#include <ballast/image/encode.h>
#include <ballast/image/image.h>
#include <ballast/io/file.h>
#include <ballast/io/prediction_file.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace ballast {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class RunReport : public testing::Test {
 protected:
  void SetUp() override {
    root_ =
        fs::temp_directory_path() / ("ballast-run-report-" + std::to_string(getpid()) + "-" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    for (const char* part : {"train", "test"}) {
      for (int label = 0; label < 2; ++label) {
        fs::path folder = root_ / "photos" / part / (label ? "dog" : "cat");
        fs::create_directories(folder);
        for (int i = 0; i < 12; ++i) {
          Image image(40, 40, 3);
          for (int32_t y = 0; y < 40; ++y) {
            for (int32_t x = 0; x < 120; ++x) {
              image.row_u8(y)[x] = static_cast<uint8_t>(x * 2 + label * 15 + y + i);
            }
          }
          write_file_atomic(folder / (std::to_string(100 + i) + ".png"), encode_png(image));
        }
      }
    }
    run_ = root_ / "run";
    fs::create_directories(run_ / "predictions");
    write_file_atomic(
        run_ / "config.toml",
        "[run]\nseed = 5  # flag\n[data]\nsource = \"" + (root_ / "photos").string() +
            "\"  # flag\n[augment]\ntrain = \"random_crop(40, padding=4) | hflip\"  # auto: light\n"
            "[train]\nbatch_size = 8  # flag\n");
    write_file_atomic(run_ / "metrics.jsonl",
                      std::string("{\"kind\":\"run\",\"classes\":[\"cat\",\"dog\"]}\n"));
    options_.source = (root_ / "photos").string();
    data_ = open_data(options_, Key(5));
    write_file_atomic(run_ / "split.csv", data_.split_csv());
    PredictionTable table;
    table.classes = 2;
    const RoleView& test = data_.role(Role::test);
    for (int64_t i = 0; i < test.size(); ++i) {
      auto id = static_cast<int64_t>(test.id(i));
      auto target = static_cast<int32_t>(data_.source->label(id));
      bool wrong = i % 4 == 0;
      table.index.push_back(id);
      table.target.push_back(target);
      table.pred.push_back(wrong ? 1 - target : target);
      table.rank.push_back(wrong ? 1 : 0);
      table.loss.push_back(1);
      table.confidence.push_back(0.5 + 0.01 * static_cast<double>(i));
    }
    write_predictions(run_ / "predictions" / "test.safetensors", table);
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path root_, run_;
  DataOptions options_;
  DataSet data_;
};

TEST_F(RunReport, ShowsTheSurestMistakesAndTheLeastCertain) {
  RunPage page = gather_run_page(run_, nullptr);
  EXPECT_EQ(page.pictures_note, "");
  EXPECT_EQ(page.predictions_split, "test");
  ASSERT_EQ(page.wrongest.size(), 6u);
  EXPECT_NEAR(page.wrongest[0].confidence, 0.7, 1e-12);
  EXPECT_NE(page.wrongest[0].pred, page.wrongest[0].target);
  ASSERT_EQ(page.uncertain.size(), 24u);
  EXPECT_NEAR(page.uncertain[0].confidence, 0.5, 1e-12);
  EXPECT_THAT(page.uncertain[0].name, testing::StartsWith("test/cat/"));
  EXPECT_THAT(page.uncertain[0].bytes, testing::StartsWith("\x89PNG"));
  EXPECT_EQ(page.record.split_rows[0].label, 0);
}

TEST_F(RunReport, TheFirstBatchIsTheLoadersFirst) {
  RunPage page = gather_run_page(run_, &data_);
  Pipeline pipeline = Pipeline::parse("random_crop(40, padding=4) | hflip");
  Loader loader(data_.role(Role::train), pipeline, {.batch_size = 8, .seed = 5, .workers = 0});
  loader.start_epoch(0);
  BatchSlot* slot = loader.next();
  ASSERT_NE(slot, nullptr);
  ASSERT_EQ(page.first_batch.size(), 8u);
  std::vector<std::byte> buffer;
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(page.first_batch[i].target, slot->label[i]);
    Stored stored = data_.source->read(static_cast<int64_t>(slot->id[i]), buffer);
    Key key = Key(5).fold_in("augment").fold_in(uint64_t{0}).fold_in(slot->id[i]);
    std::vector<std::byte> png = encode_png(pipeline.preview(stored.file, key, data_.channels));
    EXPECT_EQ(page.first_batch[i].bytes,
              std::string(reinterpret_cast<const char*>(png.data()), png.size()));
  }
}

TEST_F(RunReport, WritesThePageIntoTheRunsFolder) {
  fs::path page = write_report(run_);
  EXPECT_EQ(page, run_ / "report.html");
  EXPECT_THAT(read_text_file(page), HasSubstr("data:image/png;base64,"));
  fs::path other = write_report({run_, run_}, {.out = root_ / "both.html", .pictures = false});
  EXPECT_THAT(read_text_file(other), HasSubstr("2 runs side by side"));
  EXPECT_THAT(read_text_file(other), Not(HasSubstr("data:image/png;base64,")));
}

TEST_F(RunReport, SaysWhyThereAreNoPictures) {
  fs::remove_all(root_ / "photos");
  std::string page = read_text_file(write_report(run_));
  EXPECT_THAT(page, HasSubstr("The pictures cannot be shown"));
  EXPECT_THAT(page, Not(HasSubstr("data:image/png;base64,")));
}

TEST_F(RunReport, DataThatHasChangedIsNotShown) {
  fs::remove(root_ / "photos" / "test" / "cat" / "105.png");
  EXPECT_THAT(gather_run_page(run_, nullptr).pictures_note,
              HasSubstr("is not what the run was trained on"));
}

TEST_F(RunReport, AnUnreadablePictureIsLeftOut) {
  RunPage before = gather_run_page(run_, &data_);
  write_file_atomic(root_ / "photos" / before.wrongest[0].name, std::string("no picture"));
  RunPage after = gather_run_page(run_, &data_);
  EXPECT_EQ(after.wrongest.size(), before.wrongest.size() - 1);
}

TEST_F(RunReport, ARunIsRequired) {
  EXPECT_THROW(write_report(std::vector<fs::path>{}), std::invalid_argument);
  EXPECT_THROW(write_report(root_ / "none"), DataError);
}

}  // namespace
}  // namespace ballast

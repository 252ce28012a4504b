#include <ballast/io/prediction_file.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include <ballast/base/check.h>
#include <ballast/io/safetensors.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

PredictionTable table() {
  return {.index = {1, 4, 7},
          .target = {0, 1, 1},
          .pred = {0, 0, 1},
          .rank = {0, 1, 0},
          .loss = {0.1, 2.5, 1.0 / 3},
          .confidence = {0.9, 0.8, 0.7},
          .logits = {2, 0, 3, 1, 0, 1},
          .classes = 2,
          .metadata = {{"split", "test"}}};
}

TEST(PredictionFile, ComesBackAsItWas) {
  const TestFolder folder;
  PredictionTable t = table();
  write_predictions(folder / "p", t);
  EXPECT_EQ(read_predictions(folder / "p"), t);
  t.logits.clear();
  write_predictions(folder / "p", t);
  EXPECT_EQ(read_predictions(folder / "p"), t);
}

TEST(PredictionFile, AnEmptyTableToo) {
  const TestFolder folder;
  PredictionTable none;
  none.classes = 10;
  write_predictions(folder / "p", none);
  EXPECT_EQ(read_predictions(folder / "p").size(), 0);
}

TEST(PredictionFile, SortMovesWholeRows) {
  PredictionTable t = table();
  t.index = {7, 1, 4};
  t.sort();
  EXPECT_EQ(t.index, (std::vector<int64_t>{1, 4, 7}));
  EXPECT_EQ(t.target, (std::vector<int32_t>{1, 1, 0}));
  EXPECT_EQ(t.loss, (std::vector<double>{2.5, 1.0 / 3, 0.1}));
  EXPECT_EQ(t.logits, (std::vector<float>{3, 1, 0, 1, 2, 0}));
}

TEST(PredictionFile, RefusesTablesThatAreNone) {
  const TestFolder folder;
  const auto refuse = [&](auto&& change, const char* message) {
    PredictionTable t = table();
    change(t);
    EXPECT_THAT([&] { write_predictions(folder / "p", t); },
                ThrowsMessage<std::invalid_argument>(HasSubstr(message)));
  };
  refuse([](auto& t) { t.pred.pop_back(); }, "column pred must have 3 rows, got 2");
  refuse([](auto& t) { t.logits.pop_back(); }, "logits must have 3 rows of 2, got 5 values");
  refuse([](auto& t) { t.index = {1, 1, 2}; }, "sorted by index, each once, got 1 before 1");
  refuse([](auto& t) { t.classes = -1; }, "classes must be 0 or more");
  EXPECT_FALSE(std::filesystem::exists(folder / "p"));
}

TEST(PredictionFile, RefusesFilesThatAreNone) {
  const TestFolder folder;
  const auto refuse = [&](auto&& change, std::map<std::string, std::string> metadata,
                          const char* message) {
    const PredictionTable t = table();
    std::vector<SafetensorsTensor> tensors = {
        {"index", SafetensorsDType::i64, {3}, std::as_bytes(std::span(t.index))},
        {"target", SafetensorsDType::i32, {3}, std::as_bytes(std::span(t.target))},
        {"pred", SafetensorsDType::i32, {3}, std::as_bytes(std::span(t.pred))},
        {"rank", SafetensorsDType::i32, {3}, std::as_bytes(std::span(t.rank))},
        {"loss", SafetensorsDType::f64, {3}, std::as_bytes(std::span(t.loss))},
        {"confidence", SafetensorsDType::f64, {3}, std::as_bytes(std::span(t.confidence))}};
    change(tensors);
    write_safetensors(folder / "p", tensors, metadata);
    EXPECT_THAT([&] { read_predictions(folder / "p"); },
                ThrowsMessage<DataError>(HasSubstr(message)));
  };
  const auto same = [](auto&) {};
  refuse([](auto& t) { t.pop_back(); }, {{"classes", "2"}}, "tensor confidence is required");
  refuse([](auto& t) { t[1].dtype = SafetensorsDType::f32; }, {{"classes", "2"}},
         "column target must be I32, got F32");
  refuse(
      [](auto& t) {
        t[1].shape = {3, 1};
      },
      {{"classes", "2"}}, "column target has another shape");
  refuse([](auto& t) { t[0].shape = {3, 1}; }, {{"classes", "2"}}, "index must have one dimension");
  refuse(same, {}, "\"classes\" is required");
  refuse(same, {{"classes", "2x"}}, "classes must be a number, got 2x");
  refuse(same, {{"classes", "1"}}, "a class must be in [0, 1), got 1");
  const std::vector<int64_t> unsorted = {4, 1, 7};
  refuse([&](auto& t) { t[0].bytes = std::as_bytes(std::span(unsorted)); }, {{"classes", "2"}},
         "sorted by index");
}

}  // namespace
}  // namespace ballast

#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/base/test_message.h>
#include <ballast/data/loader.h>
#include <ballast/data/test_data.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>

namespace ballast {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class LoaderTest : public testing::Test {
 protected:
  static constexpr int kPictures = 60;
  void SetUp() override { write_classes(folder_.str(), {{"a", 25}, {"b", 35}}); }

  DataSet open() {
    return open_data({.source = folder_.str(), .split_val = 0, .split_test = 0}, Key(0));
  }
  static Pipeline pipeline() { return Pipeline::parse("random_crop(8, padding=2) | hflip"); }

  /// Digest of everything in the batches that are left of an epoch.
  static std::string digest(Loader& loader) {
    Sha256 hash;
    while (BatchSlot* batch = loader.next()) {
      const auto n = static_cast<size_t>(batch->n);
      hash.update(
          std::as_bytes(std::span(batch->data, n * static_cast<size_t>(batch->sample_size()))));
      hash.update(std::as_bytes(std::span(batch->label).first(n)));
      hash.update(std::as_bytes(std::span(batch->id).first(n)));
      hash.update(std::as_bytes(std::span(batch->weight).first(n)));
      if (batch->mixed) {
        hash.update(std::as_bytes(std::span(batch->partner).first(n)));
        hash.update(std::as_bytes(std::span(batch->lambda).first(n)));
      }
    }
    return hex(hash.finish());
  }
  std::string file(int i) const {
    return folder_ / (std::string("a/") + (i < 10 ? "0" : "") + std::to_string(i) + ".png");
  }

  TempFolder folder_;
};

TEST_F(LoaderTest, OrderAndPixelsAreEqualForAnyWorkersAndPrefetch) {
  const DataSet data = open();
  std::vector<std::string> expected;
  for (const int workers : {0, 1, 2, 4, 16}) {
    for (const int prefetch : {1, 2, 8}) {
      for (const Layout layout : {Layout::chw}) {
        Loader loader(data.role(Role::train), pipeline(),
                      {.batch_size = 7,
                       .seed = 5,
                       .layout = layout,
                       .workers = workers,
                       .prefetch = prefetch});
        for (size_t epoch = 0; epoch < 3; ++epoch) {
          loader.start_epoch(static_cast<int64_t>(epoch));
          const std::string got = digest(loader);
          if (expected.size() <= epoch) {
            expected.push_back(got);
          }
          EXPECT_EQ(got, expected[epoch]) << workers << ' ' << prefetch << ' ' << epoch;
        }
      }
    }
  }
  EXPECT_NE(expected[0], expected[1]);
}

TEST_F(LoaderTest, StrongAugmentationAndMixingAreEqualForAnyWorkersPrefetchAndStart) {
  const DataSet data = open();
  const Pipeline strong = Pipeline::parse(
      "rrc(16) | hflip | rotate(20) | rand-m9-mstd0.5-inc1 | trivial_augment | augmix | maybe(0.5, elastic(4, 2)) | "
      "gaussian_noise | erase(0.5, mode=pixel)");
  for (const MixMode mode : {MixMode::batch, MixMode::pair, MixMode::elem}) {
    std::vector<std::string> expected;
    for (const int workers : {0, 1, 2, 4, 8}) {
      for (const int prefetch : {1, 4}) {
        Loader loader(data.role(Role::train), strong,
                      {.batch_size = 7,
                       .seed = 5,
                       .mix = {.mixup_alpha = 0.4, .cutmix_alpha = 1, .mode = mode, .off_epoch = 2},
                       .workers = workers,
                       .prefetch = prefetch});
        for (size_t epoch = 0; epoch < 3; ++epoch) {
          loader.start_epoch(static_cast<int64_t>(epoch));
          const std::string got = digest(loader);
          if (expected.size() <= 2 * epoch) {
            expected.push_back(got);
            loader.start_epoch(static_cast<int64_t>(epoch), 3);
            expected.push_back(digest(loader));
          }
          EXPECT_EQ(got, expected[2 * epoch]) << workers << ' ' << prefetch << ' ' << epoch;
          loader.start_epoch(static_cast<int64_t>(epoch), 3);
          EXPECT_EQ(digest(loader), expected[2 * epoch + 1]) << "from batch 3 on";
          loader.start_epoch(static_cast<int64_t>(epoch));
          bool mixed = false;
          while (BatchSlot* batch = loader.next()) {
            mixed = mixed || batch->mixed;
          }
          EXPECT_EQ(mixed, epoch < 2) << "off from epoch 2 on";
        }
      }
    }
  }
}

TEST_F(LoaderTest, TheLastEpochsGetCropAndFlipOnly) {
  const DataSet data = open();
  const Pipeline strong = Pipeline::parse("rrc(16) | hflip | rotate(20) | jitter(0.4, 0.4) | erase(1)");
  EXPECT_EQ(strong.plain().text(), "random_resized_crop(16) | horizontal_flip");
  const MixOptions mix = {.mixup_alpha = 0.4};
  Loader both(data.role(Role::train), strong, {.batch_size = 7, .seed = 5, .mix = mix, .plain_from = 2, .workers = 2});
  Loader all(data.role(Role::train), strong, {.batch_size = 7, .seed = 5, .mix = mix, .workers = 0});
  Loader plain(data.role(Role::train), strong.plain(), {.batch_size = 7, .seed = 5, .workers = 0});
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    Loader& same = epoch < 2 ? all : plain;
    both.start_epoch(epoch);
    same.start_epoch(epoch);
    EXPECT_EQ(digest(both), digest(same)) << epoch;
  }
}

TEST_F(LoaderTest, ASlowConsumerSeesTheSame) {
  const DataSet data = open();
  Loader reference(data.role(Role::train), pipeline(), {.batch_size = 4, .workers = 0});
  Loader loader(data.role(Role::train), pipeline(), {.batch_size = 4, .workers = 3, .prefetch = 2});
  reference.start_epoch(0);
  loader.start_epoch(0);
  while (BatchSlot* expected = reference.next()) {
    BatchSlot* got = loader.next();
    ASSERT_NE(got, nullptr);
    std::this_thread::yield();
    EXPECT_TRUE(std::equal(expected->data, expected->data + expected->n * expected->sample_size(),
                           got->data));
  }
  EXPECT_EQ(loader.next(), nullptr);
}

TEST_F(LoaderTest, EachPictureOnceInAKeyedOrder) {
  const DataSet data = open();
  Loader loader(data.role(Role::train), pipeline(), {.batch_size = 16, .seed = 2, .workers = 2});
  EXPECT_EQ(loader.batches(), 4);
  EXPECT_EQ(loader.channels(), 3);
  EXPECT_EQ(loader.height(), 8);
  const Permutation order(Key(2).fold_in("order").fold_in(3), kPictures);
  loader.start_epoch(3);
  uint64_t position = 0;
  std::vector<int64_t> sizes;
  while (BatchSlot* batch = loader.next()) {
    sizes.push_back(batch->n);
    for (int64_t i = 0; i < batch->n; ++i) {
      const uint64_t id = batch->id[static_cast<size_t>(i)];
      EXPECT_EQ(id, order(position++));
      EXPECT_EQ(batch->label[static_cast<size_t>(i)], data.source->label(static_cast<int64_t>(id)));
      EXPECT_EQ(batch->weight[static_cast<size_t>(i)], 1.0f);
    }
  }
  EXPECT_THAT(sizes, testing::ElementsAre(16, 16, 16, 12));
}

TEST_F(LoaderTest, RowsAreThePipelineOnTheSamplesKey) {
  const DataSet data = open();
  Loader loader(data.role(Role::train), pipeline(), {.batch_size = 8, .seed = 9, .workers = 1});
  loader.start_epoch(4);
  BatchSlot* batch = loader.next();
  BatchSlot one(1, 3, 8, 8, Layout::chw);
  Scratch scratch;
  std::vector<std::byte> buffer;
  for (int64_t i = 0; i < batch->n; ++i) {
    const uint64_t id = batch->id[static_cast<size_t>(i)];
    const Key key = Key(9).fold_in("augment").fold_in(4).fold_in(id);
    pipeline().run_encoded(data.source->read(static_cast<int64_t>(id), buffer).file, key, one, 0,
                           scratch);
    EXPECT_TRUE(std::equal(one.data, one.data + one.sample_size(), batch->row(i)));
  }
}

TEST_F(LoaderTest, StartsAtAnyBatch) {
  const DataSet data = open();
  for (const int workers : {0, 2}) {
    Loader loader(data.role(Role::train), pipeline(), {.batch_size = 7, .workers = workers});
    loader.start_epoch(1);
    for (int skip = 0; skip < 5; ++skip) {
      loader.next();
    }
    const std::string rest = digest(loader);
    loader.start_epoch(0);
    loader.next();
    loader.start_epoch(1, 5);
    EXPECT_EQ(digest(loader), rest);
    loader.start_epoch(1, loader.batches());
    EXPECT_EQ(loader.next(), nullptr);
  }
}

TEST_F(LoaderTest, WithoutShuffleTheOrderIsThatOfIds) {
  const DataSet data = open();
  Loader loader(data.role(Role::train), Pipeline::parse("center_crop(8)"),
                {.batch_size = 59, .shuffle = false, .drop_single = false, .workers = 1});
  loader.start_epoch(0);
  BatchSlot* first = loader.next();
  EXPECT_TRUE(std::is_sorted(first->id.begin(), first->id.begin() + first->n));
  BatchSlot* last = loader.next();
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(last->n, 1);
  EXPECT_EQ(last->id[0], 59u);
}

TEST_F(LoaderTest, ALastBatchOfOneIsDroppedInTraining) {
  const DataSet data = open();
  Loader loader(data.role(Role::train), pipeline(), {.batch_size = 59, .workers = 1});
  EXPECT_EQ(loader.batches(), 1);
  EXPECT_EQ(loader.samples(), 59);
  Loader ones(data.role(Role::train), pipeline(), {.batch_size = 1, .workers = 0});
  EXPECT_EQ(ones.batches(), kPictures);
}

TEST_F(LoaderTest, CancelEndsTheEpochAndTheNextOneStarts) {
  const DataSet data = open();
  for (const int workers : {0, 2}) {
    Loader loader(data.role(Role::train), pipeline(),
                  {.batch_size = 4, .workers = workers, .prefetch = 2});
    EXPECT_EQ(loader.next(), nullptr);  // not started
    loader.start_epoch(0);
    EXPECT_NE(loader.next(), nullptr);
    loader.cancel();
    EXPECT_EQ(loader.next(), nullptr);
    loader.start_epoch(0);
    int n = 0;
    while (loader.next() != nullptr) {
      ++n;
    }
    EXPECT_EQ(n, 15);
  }
}

TEST_F(LoaderTest, CancelFromAnotherThreadWakesTheConsumer) {
  const DataSet data = open();
  Loader loader(data.role(Role::train), pipeline(), {.batch_size = 60, .workers = 1});
  for (int repeat = 0; repeat < 20; ++repeat) {
    loader.start_epoch(repeat);
    std::thread other([&] { loader.cancel(); });
    loader.next();
    other.join();
    EXPECT_EQ(loader.next(), nullptr);
  }
}

TEST_F(LoaderTest, AnEpochCanBeLeftEarly) {
  const DataSet data = open();
  for (int repeat = 0; repeat < 20; ++repeat) {
    Loader loader(data.role(Role::train), pipeline(),
                  {.batch_size = 3, .workers = 3, .prefetch = 2});
    loader.start_epoch(0);
    for (int i = 0; i < repeat % 4; ++i) {
      loader.next();
    }
  }
}

TEST_F(LoaderTest, ABadFileIsSubstitutedByKeyAndChangesNoOtherSample) {
  const DataSet data = open();
  std::map<uint64_t, std::vector<float>> before;
  const LoaderOptions options{.batch_size = 7, .seed = 1, .max_bad = 0.5, .workers = 0};
  {
    Loader loader(data.role(Role::train), pipeline(), options);
    loader.start_epoch(0);
    while (BatchSlot* batch = loader.next()) {
      for (int64_t i = 0; i < batch->n; ++i) {
        before[batch->id[static_cast<size_t>(i)]] = {batch->row(i),
                                                     batch->row(i) + batch->sample_size()};
      }
    }
  }
  write_text(file(3), "this is no picture");
  write_text(file(7), "");
  fs::remove(file(9));
  std::string first;
  for (const int workers : {0, 1, 4}) {
    LoaderOptions with = options;
    with.workers = workers;
    Loader loader(data.role(Role::train), pipeline(), with);
    for (int epoch = 0; epoch < 2; ++epoch) {
      loader.start_epoch(0);
      while (BatchSlot* batch = loader.next()) {
        for (int64_t i = 0; i < batch->n; ++i) {
          const uint64_t id = batch->id[static_cast<size_t>(i)];
          EXPECT_EQ(batch->weight[static_cast<size_t>(i)], 1.0f);
          if (id != 3 && id != 7 && id != 9) {
            EXPECT_TRUE(std::equal(before[id].begin(), before[id].end(), batch->row(i))) << id;
          }
        }
      }
    }
    const auto& bad = loader.bad_samples();
    ASSERT_EQ(bad.size(), 3u);  // each once, though there were two epochs
    for (const BadSample& row : bad) {
      EXPECT_EQ(row.action, "substitute");
      ASSERT_TRUE(row.substitute_id.has_value());
      const Key choice = Key(1).fold_in("substitute").fold_in(row.id);
      uint32_t attempt = 0;
      std::set<uint64_t> unusable = {3, 7, 9};
      while (unusable.contains(slot_below(choice, 0, kPictures, attempt))) {
        ++attempt;
      }
      EXPECT_EQ(*row.substitute_id, slot_below(choice, 0, kPictures, attempt));
      EXPECT_EQ(row.reason, row.id == 3   ? BadReason::not_an_image
                            : row.id == 7 ? BadReason::empty
                                          : BadReason::missing);
    }
    const std::string csv = bad_samples_csv(bad);
    if (first.empty()) {
      first = csv;
    }
    EXPECT_EQ(csv, first);
    EXPECT_THAT(csv,
                testing::StartsWith("id,path,role,reason,detail,bytes,action,substitute_id\n"));
    EXPECT_THAT(csv, HasSubstr("3,a/03.png,train,not_an_image,"));
  }
}

TEST_F(LoaderTest, EvaluationSkipsBadFilesWithWeightZero) {
  const DataSet data = open();
  write_text(file(3), "this is no picture");
  Loader loader(data.role(Role::train), Pipeline::parse("center_crop(8)"),
                {.batch_size = 8,
                 .shuffle = false,
                 .on_bad = OnBad::skip,
                 .max_bad = 0.5,
                 .drop_single = false,
                 .workers = 2});
  loader.start_epoch(0);
  int64_t counted = 0;
  while (BatchSlot* batch = loader.next()) {
    for (int64_t i = 0; i < batch->n; ++i) {
      const auto r = static_cast<size_t>(i);
      counted += batch->weight[r] > 0;
      if (batch->id[r] == 3) {
        EXPECT_EQ(batch->weight[r], 0.0f);
        EXPECT_TRUE(std::all_of(batch->row(i), batch->row(i) + batch->sample_size(),
                                [](float x) { return x == 0.0f; }));
      }
    }
  }
  EXPECT_EQ(counted, kPictures - 1);
  ASSERT_EQ(loader.bad_samples().size(), 1u);
  EXPECT_EQ(loader.bad_samples()[0].action, "skip");
}

TEST_F(LoaderTest, TooManyBadFilesStopTheRun) {
  const DataSet data = open();
  for (const int i : {1, 2, 3, 4}) {
    write_text(file(i), "this is no picture");
  }
  for (const int workers : {0, 2}) {
    Loader loader(data.role(Role::train), Pipeline::parse("center_crop(8)"),
                  {.batch_size = 8, .shuffle = false, .max_bad = 0.05, .workers = workers});
    loader.start_epoch(0);
    const std::string text = message_of<DataError>([&] {
      while (loader.next() != nullptr) {
      }
    });
    EXPECT_THAT(text, HasSubstr("[data] 4 of 60 files of role \"train\" cannot be used (first: "
                                "a/01.png: not_an_image: "));
    EXPECT_THAT(text, HasSubstr("limit is 5 %"));
  }
}

TEST_F(LoaderTest, OnBadErrorNamesTheFirstFile) {
  const DataSet data = open();
  write_text(file(3), "this is no picture");
  write_text(file(5), "this is no picture");
  for (const int workers : {0, 4}) {
    Loader loader(data.role(Role::train), Pipeline::parse("center_crop(8)"),
                  {.batch_size = 8, .shuffle = false, .on_bad = OnBad::error, .workers = workers});
    loader.start_epoch(0);
    EXPECT_THAT(message_of<DataError>([&] { loader.next(); }), HasSubstr("a/03.png: not_an_image"));
  }
}

TEST_F(LoaderTest, DefectsCarryTheSample) {
  const DataSet data = open();
  for (const int workers : {0, 4}) {
    // Without a step that fixes the size, a slot of another size cannot be filled.
    Loader loader(data.role(Role::train), Pipeline::parse("hflip"),
                  {.batch_size = 8, .height = 5, .width = 5, .shuffle = false, .workers = workers});
    loader.start_epoch(2);
    const std::string text = message_of<std::runtime_error>([&] { loader.next(); });
    EXPECT_THAT(text, HasSubstr("[loader] a/00.png (id 0, epoch 2): "));
  }
}

TEST_F(LoaderTest, RefusesWrongOptions) {
  const DataSet data = open();
  const auto make = [&](const LoaderOptions& o) { Loader(data.role(Role::train), pipeline(), o); };
  EXPECT_THROW(make({.batch_size = 0}), std::invalid_argument);
  EXPECT_THROW(make({.channels = 2}), std::invalid_argument);
  EXPECT_THROW(make({.height = -1}), std::invalid_argument);
  EXPECT_THROW(make({.max_bad = 1.5}), std::invalid_argument);
  EXPECT_THROW(make({.workers = -2}), std::invalid_argument);
  EXPECT_THROW(make({.prefetch = 0}), std::invalid_argument);
  EXPECT_THROW(Loader(data.role(Role::val), pipeline(), {}), DataError);
  Loader loader(data.role(Role::train), pipeline(), {});
  EXPECT_THROW(loader.start_epoch(0, 99), std::invalid_argument);
  EXPECT_THROW(loader.start_epoch(-1), std::invalid_argument);
  EXPECT_EQ(parse_on_bad("skip"), OnBad::skip);
  EXPECT_EQ(parse_on_bad("stop"), OnBad::error);
  EXPECT_THROW(parse_on_bad("ignore"), std::invalid_argument);
}

TEST_F(LoaderTest, AutoWorkersGiveTheSamePixels) {
  const DataSet data = open();
  Loader one(data.role(Role::train), pipeline(), {.batch_size = 2, .workers = 0});
  Loader many(data.role(Role::train), pipeline(), {.batch_size = 2, .workers = -1});
  for (int epoch = 0; epoch < 5; ++epoch) {
    one.start_epoch(epoch);
    many.start_epoch(epoch);
    EXPECT_EQ(digest(one), digest(many));
  }
  EXPECT_GE(many.workers(), 1);
  EXPECT_GE(many.waited_seconds(), 0.0);
}

}  // namespace
}  // namespace ballast

// A run that was stopped, killed or hit by failing storage, and continued by the same options, ends with the bytes of one
// that was not.

#include <ballast/train/resume.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>

#include <gtest/gtest.h>

#include <ballast/base/check.h>
#include <ballast/base/key.h>
#include <ballast/io/jsonl.h>
#include <ballast/io/test_folder.h>
#include <ballast/train/metrics.h>
#include <ballast/train/run.h>
#include <ballast/train/run_options.h>
#include <ballast/train/test_bars.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;

// Asks to stop after `polls` polls: these come between steps, batches of a check, and while measuring.
struct StopAfter : RunEvents {
  explicit StopAfter(int64_t polls) : left(polls) {}
  bool stop_requested() override { return left-- <= 0; }
  void on_warning(const std::string& text) override { warnings.push_back(text); }
  void on_plan(const RunPlan& p) override { plan = p; }
  int64_t left;
  std::vector<std::string> warnings;
  RunPlan plan;
};
constexpr int64_t kNever = 1'000'000'000;

// A FaultFs for two threads: the one that trains and the one that writes checkpoints.
class SharedFaultFs final : public FileSystem {
  template <class Call>
  auto call(const Call& make) {
    const std::scoped_lock lock(mutex_);
    return make();
  }

 public:
  explicit SharedFaultFs(FaultOptions options) : fs_(real_fs(), options) {}
  int open(const stdfs::path& p, OpenMode m) override { return call([&] { return fs_.open(p, m); }); }
  int64_t read(int f, std::span<std::byte> b) override { return call([&] { return fs_.read(f, b); }); }
  int64_t pwrite(int f, std::span<const std::byte> b, uint64_t o) override { return call([&] { return fs_.pwrite(f, b, o); }); }
  int fallocate(int f, uint64_t s) override { return call([&] { return fs_.fallocate(f, s); }); }
  int truncate(int f, uint64_t s) override { return call([&] { return fs_.truncate(f, s); }); }
  int64_t size(int f) override { return call([&] { return fs_.size(f); }); }
  int fsync(int f) override { return call([&] { return fs_.fsync(f); }); }
  int close(int f) override { return call([&] { return fs_.close(f); }); }
  int rename(const stdfs::path& a, const stdfs::path& b) override { return call([&] { return fs_.rename(a, b); }); }
  int mkdir(const stdfs::path& p) override { return call([&] { return fs_.mkdir(p); }); }
  int unlink(const stdfs::path& p) override { return call([&] { return fs_.unlink(p); }); }
  int readdir(const stdfs::path& p, std::vector<FolderEntry>& e) override { return call([&] { return fs_.readdir(p, e); }); }
  int fsync_dir(const stdfs::path& p) override { return call([&] { return fs_.fsync_dir(p); }); }
  int statvfs(const stdfs::path& p, DiskSpace& s) override { return call([&] { return fs_.statvfs(p, s); }); }
  int lock(int f) override { return call([&] { return fs_.lock(f); }); }
  int64_t calls() const { return fs_.calls(); }
  const std::string& failed_call() const { return fs_.failed_call(); }

 private:
  std::mutex mutex_;
  FaultFs fs_;
};

class Resumed : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    data_ = std::make_unique<TestFolder>();
    stdfs::create_directories(*data_ / "bars");
    write_bars(*data_ / "bars", "train", 104, 0);
    write_bars(*data_ / "bars", "t10k", 24, 1000);
  }
  static void TearDownTestSuite() { data_.reset(); }

  RunOptions options(const std::string& name) const {
    RunOptions o;
    o.data.source = (*data_ / "bars").string();
    o.run.out = (dir_ / name).string();
    o.run.threads = Auto<int64_t>(1);
    o.run.workers = Auto<int64_t>(0);
    o.model.name = Auto<std::string>("plain_cnn:3x4");
    o.train.epochs = Auto<int64_t>(3);
    o.train.batch_size = 16;
    o.optim.lr = Auto<double>(0.05);
    o.augment.train = Auto<std::string>("random_crop(12, padding=1)");
    o.log.every = Duration{2, Duration::Unit::steps};
    o.log.tensorboard = false;
    o.save.every = Duration{2, Duration::Unit::steps};
    return o;
  }

  // What must be equal of two runs: every weight and state, the record, the predictions.
  std::map<std::string, std::string> result(const std::string& name) const {
    std::map<std::string, std::string> files;
    const stdfs::path run = dir_ / name;
    stdfs::path last;
    for (const auto& entry : stdfs::directory_iterator(run / "checkpoints")) {
      if (checkpoint_step(entry.path().filename().string())) last = std::max(last, entry.path());
    }
    for (const stdfs::path& folder : {last, run / "model", run / "predictions"}) {
      for (const auto& entry : stdfs::directory_iterator(folder)) {
        const std::string file = entry.path().filename().string();
        if (file != "session.json" && file != "MANIFEST.json") {
          files[folder.filename().string() + "/" + file] = read_text_file(entry.path());
        }
      }
    }
    for (const char* file : {"metrics.jsonl", "metrics.csv", "bad_samples.csv", "result.json"}) {
      files[file] = read_text_file(run / file);
    }
    return files;
  }
  void expect_equal(const std::map<std::string, std::string>& whole, const std::string& name, const std::string& what) const {
    const auto files = result(name);
    for (const auto& [file, bytes] : whole) {
      EXPECT_EQ(files.contains(file) && files.at(file) == bytes, true) << what << ": " << file << " differs";
    }
    EXPECT_EQ(files.size(), whole.size()) << what;
  }
  void unbroken(const RunOptions& o) const {
    StopAfter events(kNever);
    run_training(o, events);
  }

  static std::unique_ptr<TestFolder> data_;
  TestFolder dir_;
};
std::unique_ptr<TestFolder> Resumed::data_;

struct Config {
  const char* name;
  void (*change)(RunOptions&);
};
// Each optimizer, schedule, loss, drop and way to stop; loader threads 0 to 4.
const std::vector<Config> kConfigs = {
    {"sgd", [](RunOptions&) {}},
    {"adam", [](RunOptions& o) { o.optim.name = "adam"; o.optim.lr = Auto<double>(1e-3); o.run.workers = Auto<int64_t>(1); }},
    {"adamw_one_cycle", [](RunOptions& o) {
       o.optim.name = "adamw";
       o.optim.lr = Auto<double>(1e-3);
       o.schedule.name = Auto<std::string>("one_cycle");
     }},
    {"micro_batches_clip", [](RunOptions& o) { o.train.micro_batch = 5; o.train.clip = "norm:0.5"; }},
    {"patience", [](RunOptions& o) {
       o.stop.patience = 1;
       o.stop.min_delta = 100;
       o.stop.smooth = 1;
       o.train.epochs = Auto<int64_t>(9);
     }},
    {"plateau", [](RunOptions& o) {
       o.schedule.name = Auto<std::string>("plateau");
       o.schedule.patience = 1;
       o.stop.min_delta = 100;
       o.eval.every = Duration{3, Duration::Unit::steps};
     }},
    {"ema", [](RunOptions& o) { o.average.ema = Duration{5, Duration::Unit::steps}; }},
    {"ema_agc_last", [](RunOptions& o) {
       o.average.ema = Duration{0.5, Duration::Unit::epochs};
       o.train.clip = "agc:0.01";
       o.stop.restore = "last";
     }},
    {"cycles", [](RunOptions& o) { o.schedule.name = Auto<std::string>("cosine"); o.schedule.cycles = 3; o.stop.cooldown = 1; }},
    {"resnet_all_drops", [](RunOptions& o) {
       o.model.name = Auto<std::string>("resnet8");
       o.model.drop = "0.1";
       o.model.drop_path = "0.3";
       o.model.drop_block = "0.1:3";
       o.train.epochs = Auto<int64_t>(2);
       o.run.workers = Auto<int64_t>(2);
     }},
    {"mlp_drop_connect", [](RunOptions& o) {
       o.model.name = Auto<std::string>("mlp:2x16");
       o.model.drop_connect = "0.3";
       o.loss.name = "focal";
       o.run.workers = Auto<int64_t>(4);
     }},
    {"lsuv_frozen", [](RunOptions& o) { o.model.init = "lsuv"; o.train.freeze = {"*.0.*"}; o.loss.name = "bce"; }},
    {"mixed_rand_augment", [](RunOptions& o) {
       o.augment.train = Auto<std::string>("rand-m9-n2 | random_crop(12, padding=1)");
       o.augment.mixup_alpha = Auto<double>(0.4);
       o.augment.cutmix_alpha = Auto<double>(1.0);
       o.train.micro_batch = 6;
       o.run.workers = Auto<int64_t>(3);
     }},
    {"swa", [](RunOptions& o) {
       o.model.name = Auto<std::string>("resnet8");
       o.average.swa = Duration{34, Duration::Unit::percent};
       o.train.micro_batch = 8;
     }},
    {"bf16_ema", [](RunOptions& o) {
       o.train.precision = "bf16";
       o.average.ema = Duration{4, Duration::Unit::steps};
       o.model.drop = "0.2";
     }},
    {"monitors", [](RunOptions& o) {
       o.stop.patience = 1;
       o.stop.min_delta = 100;
       o.stop.also = {"val/top1", "val/ece"};
       o.stop.combine = "any";
       o.train.epochs = Auto<int64_t>(6);
     }},
    {"last_watched", [](RunOptions& o) { o.stop.restore = "last"; o.log.watch = Duration{3, Duration::Unit::steps}; }},
};

TEST_F(Resumed, AStopAtAnyPollOfAnyConfigurationLeavesNoTrace) {
  const bool all = std::getenv("BALLAST_SLOW_TESTS") != nullptr;
  int64_t pairs = 0, stops = 0;
  for (const Config& config : kConfigs) {
    const std::string whole_name = std::string(config.name) + "-whole";
    RunOptions o = options(whole_name);
    config.change(o);
    StopAfter counted(kNever);
    run_training(o, counted);
    const int64_t polls = kNever - counted.left;
    const auto whole = result(whole_name);
    for (uint64_t i = 0; i < (all ? 20U : 2U); ++i) {
      const std::string name = std::string(config.name) + "-" + std::to_string(i);
      const Key key = Key(31).fold_in(config.name).fold_in(i);
      o.run.out = (dir_ / name).string();
      o.run.workers = Auto<int64_t>(static_cast<int64_t>(i % 3));
      int64_t sessions = 0;
      for (bool done = false; !done; ++sessions) {
        ASSERT_LT(sessions, 200) << name;
        // Somewhere in what is left: stops come in the first steps, in the middle, in checks.
        StopAfter events(5 + static_cast<int64_t>(key.fold_in(static_cast<uint64_t>(sessions)).bits() % static_cast<uint64_t>(polls)));
        const RunResult r = run_training(o, events);
        done = !r.interrupted;
        stops += r.interrupted ? 1 : 0;
      }
      expect_equal(whole, name, name + " after " + std::to_string(sessions) + " sessions");
      ++pairs;
      stdfs::remove_all(dir_ / name);
    }
  }
  EXPECT_GT(stops, pairs / 2);
}

// The n-th file call and all later ones fail, as if the process had been killed there; then the same options go on.
TEST_F(Resumed, AFailureOfAnyFileCallLosesNothing) {
  const bool all = std::getenv("BALLAST_SLOW_TESTS") != nullptr;
  RunOptions o = options("whole");
  o.stop.patience = 2;
  StopAfter events(kNever);
  SharedFaultFs counting({});
  run_training(o, events, counting);
  const auto whole = result("whole");
  ASSERT_GT(counting.calls(), 200);
  const uint64_t cases = all ? 150 : 20;
  for (uint64_t i = 0; i < cases; ++i) {
    const std::string name = "n" + std::to_string(i);
    o.run.out = (dir_ / name).string();
    std::string calls;
    for (uint64_t session = 0; session < 2; ++session) {
      const auto call = static_cast<int64_t>(1 + Key(41).fold_in(i).fold_in(session).bits() % static_cast<uint64_t>(counting.calls()));
      SharedFaultFs fs({.call = call, .error_number = i % 2 == 0 ? EIO : ENOSPC, .forever = true, .short_bytes = i % 3 == 0 ? 700U : 0U});
      try {
        StopAfter more(kNever);
        run_training(o, more, fs);
      } catch (const StorageError&) {
      } catch (const DataError&) {
      } catch (const std::invalid_argument& e) {
        // The very first calls failed: there is nothing yet, or a folder without its configuration.
        ADD_FAILURE() << e.what();
      }
      calls += std::to_string(call) + " (" + fs.failed_call() + ") ";
    }
    StopAfter last(kNever);
    run_training(o, last);
    expect_equal(whole, name, "file calls " + calls);
    stdfs::remove_all(dir_ / name);
  }
}

TEST_F(Resumed, AFinishedRunIsLeftAloneAndTellsItsResult) {
  const RunOptions o = options("a");
  StopAfter events(kNever);
  const RunResult first = run_training(o, events);
  const auto before = result("a");
  const RunResult again = run_training(o, events);
  EXPECT_TRUE(again.was_finished);
  EXPECT_EQ(again.reason, first.reason);
  EXPECT_EQ(again.steps, first.steps);
  EXPECT_EQ(again.val, first.val);
  EXPECT_EQ(again.test, first.test);
  EXPECT_EQ(result("a"), before);
}

TEST_F(Resumed, AnotherConfigurationIsRefusedWithTheKeysThatDiffer) {
  RunOptions o = options("a");
  unbroken(o);
  o.optim.lr = Auto<double>(0.07);
  o.train.batch_size = 8;
  StopAfter events(kNever);
  const auto message = [&] {
    try {
      run_training(o, events);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  std::string text = message();
  EXPECT_NE(text.find("optim.lr 0.05 there and 0.07 now"), std::string::npos) << text;
  EXPECT_NE(text.find("train.batch_size 16 there and 8 now"), std::string::npos) << text;
  EXPECT_NE(text.find("--overwrite"), std::string::npos) << text;
  o.resume = true;  // the rate may change, the batch may not
  text = message();
  EXPECT_NE(text.find("cannot change: train.batch_size 16 there and 8 now"), std::string::npos) << text;
  EXPECT_EQ(text.find("optim.lr"), std::string::npos) << text;
}

TEST_F(Resumed, AFinishedRunIsMadeLonger) {
  RunOptions o = options("a");
  unbroken(o);
  o.resume = true;
  o.train.epochs = Auto<int64_t>(5);
  o.optim.lr = Auto<double>(0.01);
  StopAfter events(kNever);
  const RunResult r = run_training(o, events);
  EXPECT_EQ(r.epochs, 5);
  EXPECT_EQ(events.plan.resumed_step, 3 * 6);
  EXPECT_EQ(events.plan.edits.size(), 2U);
  std::set<int64_t> steps;
  int64_t checks = 0, stops = 0;
  for (const JsonValue& row : read_jsonl(dir_ / "a/metrics.jsonl").rows) {
    const std::string& kind = row.at("kind").string();
    if (kind == "check" && row.at("split").string() == "val") {
      EXPECT_TRUE(steps.insert(row.at("step").integer()).second);
      EXPECT_EQ(row.at("ids").at("n").integer(), 92);
      ++checks;
    }
    stops += kind == "decision" && row.at("what").string() == "stop" ? 1 : 0;
  }
  EXPECT_EQ(checks, 5);
  EXPECT_EQ(stops, 1);
  const std::string config = read_text_file(dir_ / "a/config.toml");
  EXPECT_NE(config.find("epochs = 5  # edit at step 18"), std::string::npos) << config;
}

TEST_F(Resumed, MorePatienceGoesOnCounting) {
  RunOptions o = options("a");
  o.train.epochs = Auto<int64_t>(20);
  o.stop.patience = 2;
  o.stop.min_delta = 100;
  StopAfter events(kNever);
  RunResult r = run_training(o, events);
  EXPECT_EQ(r.reason, "patience");
  EXPECT_EQ(r.epochs, 3);
  o.resume = true;
  o.stop.patience = 5;
  r = run_training(o, events);
  EXPECT_EQ(r.reason, "patience");
  EXPECT_EQ(r.epochs, 6);  // three more
}

TEST_F(Resumed, ADamagedCheckpointIsPassedOver) {
  RunOptions o = options("whole");
  unbroken(o);
  const auto whole = result("whole");
  o.run.out = (dir_ / "a").string();
  StopAfter some(12);
  EXPECT_TRUE(run_training(o, some).interrupted);
  CheckpointFolder folder(real_fs(), dir_ / "a/checkpoints");
  const std::vector<std::string> names = folder.names();
  ASSERT_GE(names.size(), 2U);
  write_text(dir_ / "a/checkpoints" / names[0] / "optimizer.safetensors", "torn");
  StopAfter events(kNever);
  EXPECT_FALSE(run_training(o, events).interrupted);
  EXPECT_EQ(events.plan.resumed_from, "checkpoints/" + names[1]);
  EXPECT_TRUE(std::ranges::any_of(events.warnings, [&](const std::string& w) {
    return w.find(names[0]) != std::string::npos && w.find("an older checkpoint is taken") != std::string::npos;
  }));
  expect_equal(whole, "a", "after damage");
}

TEST_F(Resumed, WithoutAWholeCheckpointItIsNeverBegunAnewSilently) {
  RunOptions o = options("a");
  StopAfter some(12);
  EXPECT_TRUE(run_training(o, some).interrupted);
  CheckpointFolder folder(real_fs(), dir_ / "a/checkpoints");
  for (const std::string& name : folder.names()) write_text(dir_ / "a/checkpoints" / name / "state.json", "{}");
  StopAfter events(kNever);
  try {
    run_training(o, events);
    FAIL();
  } catch (const DataError& e) {
    EXPECT_NE(std::string(e.what()).find("--restart trains anew"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("state.json"), std::string::npos) << e.what();
  }
  o.restart = true;
  EXPECT_EQ(run_training(o, events).epochs, 3);
  EXPECT_TRUE(stdfs::exists(dir_ / "a/checkpoints/quarantine"));
  RunOptions fresh = options("fresh");
  unbroken(fresh);
  expect_equal(result("fresh"), "a", "after --restart");
}

TEST_F(Resumed, ARecordThatWasChangedIsNotGoneOnWith) {
  RunOptions o = options("a");
  StopAfter some(12);
  run_training(o, some);
  std::string text = read_text_file(dir_ / "a/metrics.jsonl");
  text[text.find("\"seed\"") + 1] = 'S';
  write_text(dir_ / "a/metrics.jsonl", text);
  StopAfter events(kNever);
  EXPECT_THROW(run_training(o, events), DataError);
}

TEST_F(Resumed, ChangedDataIsRefusedByName) {
  stdfs::copy(*data_ / "bars", dir_ / "bars");
  RunOptions o = options("a");
  o.data.source = (dir_ / "bars").string();
  StopAfter some(12);
  run_training(o, some);
  write_bars(dir_ / "bars", "train", 100, 0);
  StopAfter events(kNever);
  try {
    run_training(o, events);
    FAIL();
  } catch (const DataError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("rows of split.csv differ"), std::string::npos) << text;
    EXPECT_NE(text.find("gone: "), std::string::npos) << text;
    EXPECT_NE(text.find("--accept-data-change"), std::string::npos) << text;
  }
}

TEST_F(Resumed, OneProcessAtATime) {
  const RunOptions o = options("a");
  StopAfter some(12);
  run_training(o, some);
  const RunFolder held(real_fs(), folder_options(o));
  StopAfter events(kNever);
  EXPECT_THROW(run_training(o, events), InUseError);
}

TEST_F(Resumed, ResumingNothingIsAnError) {
  RunOptions o = options("none");
  o.resume = true;
  StopAfter events(kNever);
  EXPECT_THROW(run_training(o, events), DataError);
  EXPECT_FALSE(stdfs::exists(dir_ / "none"));
}

TEST(StoppingOptions, TheDirectionIsTheMetricsOwn) {
  for (const std::string& name : metric_names()) {
    StopSection stop;
    stop.monitor = "val/" + name;
    EXPECT_EQ(stopping_options(stop).mode == MonitorMode::max, metric_is_maximized(name)) << name;
  }
}

}  // namespace
}  // namespace ballast

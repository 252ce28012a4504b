#include <ballast/report/page.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>

#include <ballast/base/check.h>
#include <ballast/report/alerts.h>
#include <ballast/report/made_up_run.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace ballast {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

class ReportTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ =
        fs::temp_directory_path() / ("ballast-report-" + std::to_string(getpid()) + "-" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  fs::path run(const std::string& name, const MadeUpRun& options = {}) {
    write_made_up_run(root_ / name, options);
    return root_ / name;
  }
  static void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  static bool has_alert(const std::vector<Alert>& alerts, Severity severity,
                        const std::string& title) {
    return std::any_of(alerts.begin(), alerts.end(), [&](const Alert& a) {
      return a.severity == severity && a.title.find(title) != std::string::npos;
    });
  }
  fs::path root_;
};

using RecordTest = ReportTest;
using AlertsTest = ReportTest;
using PageTest = ReportTest;

TEST_F(RecordTest, ReadsEveryPartOfARun) {
  RecordedRun r = read_run_record(run("a"));
  EXPECT_THAT(r.problems, testing::IsEmpty());
  EXPECT_THAT(r.missing, testing::IsEmpty());
  EXPECT_EQ(r.name, "a");
  EXPECT_EQ(r.facts.classes.size(), 10u);
  EXPECT_EQ(r.facts.total_steps, 17 * 422);
  EXPECT_EQ(r.train.size(), 17u * 8);
  EXPECT_EQ(r.checks_of("val").size(), 17u);
  ASSERT_NE(r.test_check(), nullptr);
  EXPECT_EQ(r.test_check()->samples, 2000);
  EXPECT_EQ(r.reason(), "completed");
  EXPECT_EQ(r.predictions.at("test").size(), 2000u);
  EXPECT_EQ(r.split_sizes.at("train"), 2700);
  EXPECT_EQ(r.split_sizes.at("val"), 300);
  EXPECT_THAT(r.bad_samples,
              ElementsAre(Field(&UnreadableSample::reason, "truncated: ends in row 311 of 480")));
  EXPECT_EQ(r.params(), 288 + 64 + 9216 + 64 + 9216 + 18432 + 2048 + 1290);
  EXPECT_EQ(r.layers[0].shape, "(32, 14, 14)");
  EXPECT_EQ(r.config_text("optim.name"), "sgd");
  EXPECT_EQ(r.monitor(), "nll_tempered");
  EXPECT_FALSE(r.monitor_is_maximized());
  EXPECT_EQ(r.sample_name(60007), "photos/test/7/a long, quoted name 7.jpg");
  EXPECT_EQ(r.sample_name(5), "#5");
  EXPECT_EQ(r.command, "ballast train --epochs 17");
}

TEST_F(RecordTest, OriginsOfValuesAreKept) {
  auto values = parse_config_with_origins(
      "top = 1\n[optim]\nlr = 0.1  # base.toml:12\nname = \"a # b\"  # flag\nempty =\n[data]\nlist "
      "= [\n  1, # one\n  2\n]  # env\nnonsense\n");
  ASSERT_EQ(values.size(), 5u);
  EXPECT_EQ(values[0].key, "top");
  EXPECT_EQ(values[1].key, "optim.lr");
  EXPECT_EQ(values[1].origin, "base.toml:12");
  EXPECT_TRUE(values[1].changed());
  EXPECT_EQ(values[2].value, "\"a # b\"");
  EXPECT_EQ(values[2].origin, "flag");
  EXPECT_EQ(values[4].key, "data.list");
  EXPECT_EQ(values[4].origin, "env");
  EXPECT_FALSE((ConfigValue{"a", "1", "default"}.changed()));
  EXPECT_FALSE((ConfigValue{"a", "1", "auto: small pictures"}.changed()));
}

TEST_F(RecordTest, CsvWithQuotesAndNewLines) {
  EXPECT_THAT(
      parse_csv("a,b\r\n\"x, \"\"y\"\"\nz\",2\n\n3,"),
      ElementsAre(ElementsAre("a", "b"), ElementsAre("x, \"y\"\nz", "2"), ElementsAre("3", "")));
}

TEST_F(RecordTest, AFolderIsRequired) {
  EXPECT_THROW(read_run_record(root_ / "none"), DataError);
  RecordedRun r = read_run_record(root_);
  EXPECT_THAT(r.missing, testing::ElementsAreArray({"config.toml", "metrics.jsonl", "timing.jsonl",
                                                    "events.jsonl", "env.json", "model/config.json",
                                                    "split.csv", "predictions/"}));
}

TEST_F(RecordTest, ADamagedRowCostsOnlyItself) {
  fs::path folder = run("a");
  std::string text = read_text_file(folder / "metrics.jsonl");
  write(folder / "metrics.jsonl",
        "{\"kind\":\"train\",\"ste\n" + text +
            "[1]\n{\"kind\":\"check\",\"per_class\":[[1,\"x\",2]]}\n{\"kind\":7");
  RecordedRun r = read_run_record(folder);
  EXPECT_EQ(r.train.size(), 17u * 8);
  EXPECT_EQ(r.problems.size(), 4u);
  EXPECT_EQ(r.problems[0], "metrics.jsonl:1: damaged; the row is left out");
}

// Every file cut at many places, and with bytes changed: reading and drawing never fail.
TEST_F(RecordTest, NoDamageStopsThePage) {
  fs::path folder = run("a", {.epochs = 2, .steps_per_epoch = 100, .test_samples = 40});
  made_up::Numbers numbers{99};
  for (const char* name :
       {"config.toml", "metrics.jsonl", "timing.jsonl", "events.jsonl", "env.json",
        "model/config.json", "split.csv", "bad_samples.csv", "predictions/test.safetensors"}) {
    std::string whole = read_text_file(folder / name);
    for (int i = 0; i < 12; ++i) {
      std::string damaged = whole;
      if (i % 2) {
        damaged.resize(static_cast<size_t>(numbers.next() * static_cast<double>(whole.size())));
      } else {
        for (int k = 0; k < 1 + i; ++k) {
          damaged[static_cast<size_t>(numbers.next() * static_cast<double>(whole.size()))] =
              static_cast<char>(256 * numbers.next());
        }
      }
      write(folder / name, damaged);
      EXPECT_NO_THROW(report_page({{.record = read_run_record(folder)}}, {})) << name << " " << i;
    }
    write(folder / name, whole);
  }
}

TEST_F(AlertsTest, AGoodRunHasNoProblem) {
  for (const Alert& a : find_alerts(read_run_record(run("a")))) {
    EXPECT_NE(a.severity, Severity::problem) << a.title;
  }
}

TEST_F(AlertsTest, UnreadableSamplesAreNamed) {
  auto alerts = find_alerts(read_run_record(run("a")));
  EXPECT_TRUE(has_alert(alerts, Severity::warning, "A sample could not be read"));
}

TEST_F(AlertsTest, OverfittingIsSeen) {
  auto alerts = find_alerts(read_run_record(run("a", {.overfits = true})));
  EXPECT_TRUE(has_alert(alerts, Severity::warning, "Overfitting"));
  EXPECT_FALSE(has_alert(find_alerts(read_run_record(run("b"))), Severity::warning, "Overfitting"));
}

TEST_F(AlertsTest, AClassThatIsNeverPredictedIsAProblemAndComesFirst) {
  auto alerts = find_alerts(read_run_record(run("a", {.never_says_last_class = true})));
  ASSERT_FALSE(alerts.empty());
  EXPECT_EQ(alerts[0].title, "A class is never predicted");
  EXPECT_THAT(alerts[0].evidence, HasSubstr("Ankle boot"));
}

TEST_F(AlertsTest, NoBetterThanGuessing) {
  auto alerts = find_alerts(read_run_record(run("a", {.skill = 0})));
  EXPECT_TRUE(has_alert(alerts, Severity::problem, "No better than guessing"));
}

TEST_F(AlertsTest, AWeakClassIsNamed) {
  auto alerts = find_alerts(read_run_record(run("a", {.skill = 0.95})));
  EXPECT_TRUE(has_alert(alerts, Severity::warning, "One class is far below"));
}

TEST_F(AlertsTest, EndsThatWereNotPlanned) {
  EXPECT_TRUE(has_alert(find_alerts(read_run_record(run("a", {.reason = "non_finite"}))),
                        Severity::problem, "not finite"));
  EXPECT_TRUE(has_alert(find_alerts(read_run_record(run("b", {.reason = "diverged"}))),
                        Severity::problem, "diverged"));
  EXPECT_TRUE(has_alert(find_alerts(read_run_record(run("c", {.reason = "max_time"}))),
                        Severity::note, "time limit"));
  EXPECT_TRUE(has_alert(find_alerts(read_run_record(run("d", {.reason = "signal"}))),
                        Severity::note, "Interrupted"));
  EXPECT_TRUE(has_alert(find_alerts(read_run_record(run("e", {.reason = ""}))), Severity::note,
                        "No end is recorded"));
}

TEST_F(AlertsTest, DoubtfulLabelsAreCountedAndTheWorstIsNamed) {
  fs::path folder = run("a");
  auto file = folder / "predictions" / "test.safetensors";
  PredictionTable table = read_predictions(file);
  // Mistakes that are less sure than right answers of the class that is named: no doubt about the labels.
  for (size_t i = 0; i < table.index.size(); ++i) {
    if (table.rank[i] != 0) {
      table.confidence[i] = 0.5;
    }
  }
  write_predictions(file, table);
  EXPECT_FALSE(
      has_alert(find_alerts(read_run_record(folder)), Severity::note, "labels may be wrong"));
  // 100 of 2,000 labels are another's.
  for (size_t i = 0; i < 2000; i += 20) {
    table.pred[i] = static_cast<int32_t>((table.target[i] + 1) % table.classes);
    table.rank[i] = 1;
    table.confidence[i] = 0.999;
    table.loss[i] = i == 40 ? 9 : 7;
  }
  write_predictions(file, table);
  auto alerts = find_alerts(read_run_record(folder));
  ASSERT_TRUE(has_alert(alerts, Severity::note, "labels may be wrong"));
  EXPECT_THAT(alerts, Contains(Field(&Alert::evidence,
                                     testing::AllOf(testing::StartsWith("100 of 2"),
                                                    HasSubstr("a long, quoted name 40.jpg")))));
}

TEST_F(AlertsTest, RunningStatisticsThatLagBehindAreNamed) {
  fs::path folder = run("a");
  const auto alerts_with = [&](const std::string& row) {
    std::ofstream(folder / "metrics.jsonl", std::ios::app) << row << '\n';
    return find_alerts(read_run_record(folder));
  };
  EXPECT_FALSE(has_alert(alerts_with(R"({"kind": "norm_drift", "step": 9, "layers": [{"name": "bn1", "shift": 0.1, "scale": 1.2}]})"),
                         Severity::warning, "running statistics"));
  const auto alerts = alerts_with(
      R"({"kind": "norm_drift", "step": 9, "layers": [{"name": "bn1", "shift": 0.1, "scale": 1.2}, )"
      R"({"name": "layer1.0.bn2", "shift": 2.5, "scale": 1.1}, {"name": "bn3", "shift": 0.2, "scale": 4}]})");
  ASSERT_TRUE(has_alert(alerts, Severity::warning, "running statistics"));
  EXPECT_THAT(alerts, Contains(Field(&Alert::evidence, testing::AllOf(testing::StartsWith("2 of 3 layers"),
                                                                      HasSubstr("most at layer1.0.bn2: means off by 2.5")))));
}

TEST_F(AlertsTest, FewSamplesAndUnbalancedClasses) {
  fs::path folder = run("a", {.test_samples = 100});
  std::string split = "id,path,role,label\n";
  for (int i = 0; i < 500; ++i) {
    split += std::to_string(i) + ",,train," + (i < 490 ? "0" : "1") + "\n";
  }
  write(folder / "split.csv", split);
  auto alerts = find_alerts(read_run_record(folder));
  EXPECT_TRUE(has_alert(alerts, Severity::note, "Few pictures"));
  EXPECT_TRUE(has_alert(alerts, Severity::note, "unbalanced"));
}

TEST_F(AlertsTest, StillImproving) {
  std::string rows;
  for (int e = 1; e <= 8; ++e) {
    rows += "{\"kind\":\"check\",\"split\":\"val\",\"step\":" + std::to_string(e) +
            ",\"epoch\":" + std::to_string(e) + ",\"loss\":" + std::to_string(2 - 0.2 * e) +
            ",\"loss.se\":0.01}\n";
  }
  write(root_ / "r" / "metrics.jsonl",
        rows + "{\"kind\":\"decision\",\"what\":\"stop\",\"reason\":\"completed\",\"step\":8}\n");
  auto alerts = find_alerts(read_run_record(root_ / "r"));
  EXPECT_TRUE(has_alert(alerts, Severity::note, "Still improving"));
  EXPECT_THAT(alerts, Contains(Field(&Alert::remedy, HasSubstr("--epochs 16"))));
}

TEST_F(PageTest, HasEverySectionAndThePolicyOfItsScript) {
  std::string page = report_page({made_up_page(run("a"))}, {});
  for (const char* id : {"alerts", "result", "curves", "classes", "confusion", "mistakes", "batch",
                         "calibration", "model", "config", "data", "time", "history", "provenance",
                         "loss", "top1", "stop", "lr", "grad", "reliability"}) {
    EXPECT_THAT(page, HasSubstr("id=\"" + std::string(id) + "\"")) << id;
  }
  EXPECT_THAT(page, testing::StartsWith("<!doctype html>\n<html lang=\"en\">"));
  EXPECT_TRUE(std::regex_search(
      page,
      std::regex("default-src &#39;none&#39;; img-src data:; style-src &#39;unsafe-inline&#39;; "
                 "script-src &#39;sha256-[A-Za-z0-9+/]{43}=&#39;")));
}

TEST_F(PageTest, TellsHowARunWasInterruptedAndWhatStoppedIt) {
  fs::path folder = root_ / "r";
  std::string rows =
      "{\"kind\":\"run\",\"version\":\"0.1.0\",\"seed\":0,\"steps_per_epoch\":10,\"T\":100}\n";
  const double losses[] = {1.0, 0.5, 0.6, 0.7};
  for (int e = 1; e <= 4; ++e) {
    rows += "{\"kind\":\"check\",\"split\":\"val\",\"step\":" + std::to_string(10 * e) +
            ",\"epoch\":" + std::to_string(e) + ",\"n\":100,\"loss\":" +
            std::to_string(losses[e - 1]) + ",\"wait\":" + std::to_string(std::max(0, e - 2)) + "}\n";
  }
  write(folder / "metrics.jsonl",
        rows + "{\"kind\":\"decision\",\"what\":\"stop\",\"reason\":\"patience\",\"step\":40}\n");
  write(folder / "config.toml", "[stop]\nmonitor = \"val/loss\"  # default\n");
  write(folder / "timing.jsonl", "{\"step\":40,\"forward\":4,\"save\":0.5}\n");
  write(folder / "events.jsonl",
        "{\"kind\":\"start\",\"time\":\"2026-01-05T10:00:00Z\",\"step\":0,\"message\":\"process 7\"}\n"
        "{\"kind\":\"save\",\"time\":\"2026-01-05T10:01:00Z\",\"step\":20,\"message\":\"checkpoints/step-20\"}\n"
        "{\"kind\":\"resume\",\"time\":\"2026-01-05T11:00:00Z\",\"step\":20,\"message\":\"process 9\"}\n"
        "{\"kind\":\"save\",\"time\":\"2026-01-05T11:01:00Z\",\"step\":40,\"message\":\"checkpoints/step-40\"}\n");
  std::string page = report_page({{.record = read_run_record(folder)}}, {});
  EXPECT_THAT(page, HasSubstr("Best at epoch 2. Stopped at epoch 4 after 2 checks in a row without "
                              "an improvement. That saved 60 % of the planned steps."));
  EXPECT_THAT(page, HasSubstr("continued once from a checkpoint"));
  EXPECT_THAT(page, HasSubstr("those of a run that was never stopped"));
  EXPECT_THAT(page, HasSubstr("Saved 2 times, the last at step 40 (checkpoints/step-40)"));
  EXPECT_THAT(page, HasSubstr("Events (2)"));
  // A changed configuration is not the run that was never stopped.
  write(folder / "events.jsonl",
        "{\"kind\":\"edit\",\"step\":20,\"message\":\"train.epochs 3 -> 4\"}\n"
        "{\"kind\":\"resume\",\"step\":20,\"message\":\"process 9\"}\n");
  page = report_page({{.record = read_run_record(folder)}}, {});
  EXPECT_THAT(page, HasSubstr("Its configuration was changed on the way"));
  EXPECT_THAT(page, Not(HasSubstr("never stopped")));
}

TEST_F(PageTest, AsksForNothingOutside) {
  std::string page = report_page({made_up_page(run("a"))}, {});
  for (const char* attribute : {"src=\"http", "href=\"http", "url(", "@import", "src=\"//"}) {
    EXPECT_THAT(page, Not(HasSubstr(attribute)));
  }
}

TEST_F(PageTest, NamesFromOutsideStayText) {
  MadeUpRun options;
  options.last_class = "<script>alert(1)</script>";
  std::string page = report_page({made_up_page(run("a", options))}, {});
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

TEST_F(PageTest, EqualRunsGiveEqualBytesWithoutTimes) {
  fs::path a = run("a", {.clock = 1});
  fs::path b = run("b", {.clock = 3});
  RunPage pa = made_up_page(a);
  RunPage pb = made_up_page(b);
  EXPECT_EQ(report_page({pa}, {.no_times = true}), report_page({pb}, {.no_times = true}));
  EXPECT_NE(report_page({pa}, {}), report_page({pb}, {}));
  EXPECT_EQ(report_page({pa, pb}, {.no_times = true}), report_page({pb, pa}, {.no_times = true}));
}

TEST_F(PageTest, StaysBelowItsLimitByLeavingPicturesOut) {
  RunPage page = made_up_page(run("a"), 200);  // 72 x 120 kB
  std::string text = report_page({page}, {});
  EXPECT_LE(text.size(), 1'500'000u);
  EXPECT_THAT(text, HasSubstr("data:image/bmp"));
}

TEST_F(PageTest, SeveralRunsSideBySide) {
  RunPage a = made_up_page(run("first"));
  RunPage b = made_up_page(run("second", {.epochs = 9, .lr = 0.05}));
  std::string page = report_page({a, b}, {});
  EXPECT_THAT(page, HasSubstr("2 runs side by side"));
  EXPECT_THAT(page, HasSubstr("id=\"all-loss\""));
  EXPECT_THAT(page, HasSubstr("id=\"r1-confusion\""));
  EXPECT_THAT(page, HasSubstr("id=\"r2-confusion\""));
  std::string differences = page.substr(page.find("id=\"differences\""));
  differences = differences.substr(0, differences.find("</section>"));
  EXPECT_THAT(differences, HasSubstr("optim.lr"));
  EXPECT_THAT(differences, HasSubstr("train.epochs"));
  EXPECT_THAT(differences, Not(HasSubstr("batch_size")));
  // Ids are unique.
  std::set<std::string> ids;
  std::regex id(" id=\"([^\"]*)\"");
  for (std::sregex_iterator
           it(page.begin(), page.begin() + static_cast<ptrdiff_t>(page.rfind("<script>")), id),
       end;
       it != end; ++it) {
    EXPECT_TRUE(ids.insert((*it)[1]).second) << (*it)[1];
  }
}

TEST_F(PageTest, WithoutTimingTheEventsTellTheTime) {
  fs::path folder = run("a");
  write(folder / "timing.jsonl", "");
  write(folder / "events.jsonl",
        "{\"kind\":\"start\",\"time\":\"2026-02-28T23:59:30Z\"}\n"
        "{\"kind\":\"end\",\"time\":\"2026-03-01T00:01:00Z\"}\n");
  EXPECT_THAT(report_page({{.record = read_run_record(folder)}}, {}), HasSubstr("1 min 30 s"));
}

TEST_F(PageTest, ARunShorterThanItsFirstRowShowsTheLossOfItsChecks) {
  write(root_ / "r" / "metrics.jsonl",
        "{\"kind\":\"run\",\"steps_per_epoch\":4,\"T\":8}\n"
        "{\"kind\":\"check\",\"split\":\"val\",\"step\":4,\"epoch\":1,\"loss\":0.5,\"train_loss\":"
        "1.25}\n"
        "{\"kind\":\"check\",\"split\":\"val\",\"step\":8,\"epoch\":2,\"loss\":0.4,\"train_loss\":"
        "0.75}\n");
  EXPECT_THAT(report_page({{.record = read_run_record(root_ / "r")}}, {}),
              HasSubstr("Training from 1.25 to 0.75."));
}

TEST_F(PageTest, MixingIsDrawnWhereTheRunMixed) {
  std::string row = "{\"kind\":\"check\",\"split\":\"val\",\"step\":4,\"epoch\":1,\"loss\":0.5";
  std::string run = "{\"kind\":\"run\",\"steps_per_epoch\":4,\"T\":8}\n";
  write(root_ / "r" / "metrics.jsonl", run + row + ",\"mix.mixed\":0.75,\"mix.lambda\":0.68}\n");
  std::string page = report_page({{.record = read_run_record(root_ / "r")}}, {});
  EXPECT_THAT(page, HasSubstr("Mean lambda from 0.68 to 0.68."));
  EXPECT_THAT(page, HasSubstr("Share mixed from 75"));
  write(root_ / "r" / "metrics.jsonl", run + row + "}\n");
  EXPECT_THAT(report_page({{.record = read_run_record(root_ / "r")}}, {}), Not(HasSubstr("ean lambda")));
}

TEST_F(PageTest, AnEmptyFolderGivesAPageThatSaysWhatIsMissing) {
  std::string page = report_page({{.record = read_run_record(root_)}}, {});
  EXPECT_THAT(page, HasSubstr("There is no record of training"));
  EXPECT_THAT(page, HasSubstr("Not found in the run folder"));
  EXPECT_THROW(report_page({}, {}), std::invalid_argument);
}

}  // namespace
}  // namespace ballast

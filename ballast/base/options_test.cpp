#include <ballast/base/options.h>

#include <gtest/gtest.h>

namespace ballast {
namespace {

struct Toy {
  double lr = 0.1;
  Auto<int64_t> epochs;
  std::optional<int64_t> patience;
  std::string name = "sgd";
  bool nesterov = true;
  std::vector<double> betas = {0.9, 0.999};
  std::vector<std::string> globs;
  std::vector<int64_t> sizes;
  Duration warmup{5, Duration::Unit::percent};
  Duration limit{60, Duration::Unit::seconds};
  uint64_t seed = 0;
  std::string model = "lenet";
};

template <class Visitor>
void describe(Visitor& visit, Toy& o) {
  visit("lr", o.lr, {.help = "rate", .flags = "--lr --lr-base", .range = above(0)});
  visit("epochs", o.epochs, {.help = "passes", .flags = "-e --epochs", .range = between(1, 1000)});
  visit("patience", o.patience, {.help = "patience", .range = at_least(1)});
  visit("name", o.name, {.help = "optimizer", .choices = "sgd adam adamw"});
  visit("nesterov", o.nesterov, {.help = "nesterov"});
  visit("betas", o.betas, {.help = "betas", .range = half_open(0, 1), .count = 2});
  visit("globs", o.globs, {.help = "globs"});
  visit("sizes", o.sizes, {.help = "sizes"});
  visit("warmup", o.warmup, {.help = "warmup"});
  visit("limit", o.limit, {.help = "limit", .unit = Duration::Unit::seconds});
  visit("seed", o.seed, {.help = "seed"});
  visit("model", o.model, {.help = "model", .check = [](const std::string& s) {
                             return s == "lenet" ? "" : "is unknown: \"" + s + "\"";
                           }});
}

class OptionsTest : public ::testing::Test {
 protected:
  OptionsTest() { table.add("toy", toy); }
  std::string text(const char* key, const char* value) {
    return table.set(std::string("toy.") + key, OptionValue::from_text(value), "flag");
  }
  std::string typed(const char* key, OptionValue value) { return table.set(std::string("toy.") + key, value, "t.toml:1"); }
  Toy toy;
  OptionTable table;
};

TEST_F(OptionsTest, RowsKnowFlagsEnvironmentTypesAndDefaults) {
  const OptionRow& lr = *table.find("toy.lr");
  EXPECT_EQ(lr.environment(), "BALLAST_TOY_LR");
  EXPECT_EQ(lr.flags(), (std::vector<std::string>{"--lr", "--lr-base"}));
  EXPECT_EQ(lr.type, "number");
  EXPECT_EQ(lr.default_text, "0.1");
  EXPECT_EQ(lr.section(), "toy");
  EXPECT_EQ(lr.name(), "lr");
  EXPECT_EQ(table.find("toy.epochs")->type, "integer or auto");
  EXPECT_EQ(table.find("toy.patience")->default_text, "\"off\"");
  EXPECT_EQ(table.find("toy.name")->plain(), "sgd");
  EXPECT_TRUE(table.find("toy.nesterov")->is_flag());
  EXPECT_EQ(table.find("toy.nothing"), nullptr);
}

TEST_F(OptionsTest, TextsAreReadAsTheFieldsType) {
  EXPECT_EQ(text("lr", "2e-5"), "");
  EXPECT_EQ(toy.lr, 2e-5);
  EXPECT_EQ(text("epochs", "12"), "");
  EXPECT_EQ(*toy.epochs, 12);
  EXPECT_EQ(text("epochs", "auto"), "");
  EXPECT_TRUE(toy.epochs.is_auto());
  EXPECT_EQ(text("patience", "3"), "");
  EXPECT_EQ(toy.patience, 3);
  EXPECT_EQ(text("patience", "off"), "");
  EXPECT_FALSE(toy.patience.has_value());
  EXPECT_EQ(text("nesterov", "off"), "");
  EXPECT_FALSE(toy.nesterov);
  EXPECT_EQ(text("betas", "0.8,0.95"), "");
  EXPECT_EQ(toy.betas, (std::vector<double>{0.8, 0.95}));
  EXPECT_EQ(text("globs", "a*,b"), "");
  EXPECT_EQ(toy.globs, (std::vector<std::string>{"a*", "b"}));
  EXPECT_EQ(text("sizes", "1,2"), "");
  EXPECT_EQ(text("warmup", "5ep"), "");
  EXPECT_EQ(toy.warmup.text(), "5ep");
  EXPECT_EQ(text("warmup", "3"), "");
  EXPECT_EQ(toy.warmup.text(), "3ep");
  EXPECT_EQ(text("seed", "18446744073709551615"), "");
  EXPECT_EQ(toy.seed, ~uint64_t{0});
  EXPECT_EQ(table.find("toy.seed")->origin, "flag");
}

TEST_F(OptionsTest, WrongTextsSayWhatIsRequired) {
  EXPECT_EQ(text("lr", "-1"), "toy.lr must be a number > 0, got \"-1\"");
  EXPECT_EQ(text("lr", "0"), "toy.lr must be a number > 0, got \"0\"");
  EXPECT_EQ(text("lr", "fast"), "toy.lr must be a number > 0, got \"fast\"");
  EXPECT_EQ(text("lr", "nan"), "toy.lr must be a finite number, got \"nan\"");
  EXPECT_EQ(text("lr", "1 "), "toy.lr must be a number > 0, got \"1 \"");
  EXPECT_EQ(text("epochs", "1.5"), "toy.epochs must be an integer in [1, 1000], got \"1.5\"");
  EXPECT_EQ(text("epochs", "0"), "toy.epochs must be an integer in [1, 1000], got \"0\"");
  EXPECT_EQ(text("patience", "0"), "toy.patience must be an integer >= 1, got \"0\"");
  EXPECT_EQ(text("name", "adma"), "toy.name must be sgd, adam or adamw, got \"adma\"; did you mean \"adam\"?");
  EXPECT_EQ(text("nesterov", "maybe"), "toy.nesterov must be true or false, got \"maybe\"");
  EXPECT_EQ(text("betas", "0.9"), "toy.betas must be a list of numbers with 2 elements, got 1");
  EXPECT_EQ(text("betas", "0.9,1"), "toy.betas element 2 must be a number in [0, 1), got \"1\"");
  EXPECT_EQ(text("warmup", "soon"), "toy.warmup must be a number with ep, st, %, s, m or h, such as 5ep or 45m, got \"soon\"");
  EXPECT_EQ(text("limit", "3ep"), "toy.limit must be a time such as 45m or 2h, got \"3ep\"");
  EXPECT_EQ(text("seed", "-1"), "toy.seed must be an integer, got \"-1\"");
  EXPECT_EQ(text("model", "lenett"), "toy.model is unknown: \"lenett\"");
  EXPECT_EQ(toy.lr, 0.1);
  EXPECT_EQ(table.find("toy.lr")->origin, "default");
}

TEST_F(OptionsTest, TypedValuesAreStrict) {
  EXPECT_EQ(typed("lr", {std::string("2e-5")}), "toy.lr must be a number > 0, got \"2e-5\" (a text)");
  EXPECT_EQ(typed("lr", {int64_t{1}}), "");
  EXPECT_EQ(typed("lr", {true}), "toy.lr must be a number > 0, got true");
  EXPECT_EQ(typed("epochs", {2.0}), "toy.epochs must be an integer in [1, 1000], got 2");
  EXPECT_EQ(typed("epochs", {std::string("auto")}), "");
  EXPECT_EQ(typed("name", {int64_t{1}}), "toy.name must be a text, got 1");
  EXPECT_EQ(typed("nesterov", {std::string("true")}), "toy.nesterov must be true or false, got \"true\" (a text)");
  EXPECT_EQ(typed("betas", {0.5}), "toy.betas must be a list of numbers, got 0.5");
  EXPECT_EQ(typed("betas", {std::vector<OptionValue>{{0.5}, {int64_t{0}}}}), "");
  EXPECT_EQ(typed("patience", {false}), "");
  EXPECT_EQ(typed("seed", {int64_t{-1}}), "toy.seed must be an integer >= 0, got -1");
  EXPECT_EQ(typed("warmup", {2.5}), "");
  EXPECT_EQ(toy.warmup.text(), "2.5ep");
}

TEST_F(OptionsTest, UnknownKeyNamesTheNearest) {
  EXPECT_EQ(table.set("toy.epoch", OptionValue::from_text("1"), "flag"),
            "unknown key \"toy.epoch\"; did you mean \"toy.epochs\"?");
  EXPECT_EQ(table.unknown_key("train.lr"), "unknown key \"train.lr\"; did you mean \"toy.lr\"?");
  EXPECT_EQ(table.unknown_key("zebra.crossing"), "unknown key \"zebra.crossing\"");
}

TEST_F(OptionsTest, EveryTypoOfEveryKeyIsAnswered) {
  for (const std::string& key : table.keys()) {
    for (size_t i = 4; i < key.size(); ++i) {
      std::string typo = key;
      typo[i] = 'Q';
      EXPECT_EQ(nearest_name(typo, table.keys()), key) << typo;
    }
  }
}

TEST_F(OptionsTest, RenderHasASectionAndTheOriginOfEachValue) {
  text("lr", "0.5");
  typed("name", {std::string("adam")});
  const std::string toml = table.render();
  EXPECT_TRUE(toml.starts_with("[toy]\nlr = 0.5  # flag\nepochs = \"auto\"  # default\n")) << toml;
  EXPECT_NE(toml.find("name = \"adam\"  # t.toml:1\n"), std::string::npos);
  EXPECT_NE(toml.find("betas = [0.9, 0.999]  # default\n"), std::string::npos);
}

TEST_F(OptionsTest, OddTextsAreQuoted) {
  toy.name = "a\"b\\c\n";
  EXPECT_EQ(table.find("toy.name")->text(), "\"a\\\"b\\\\c\\u000A\"");
}

TEST(Range, PrintsAndHolds) {
  EXPECT_EQ(half_open(0, 1).text(), "in [0, 1)");
  EXPECT_EQ(above_to(0, 1).text(), "in (0, 1]");
  EXPECT_EQ(above(0).text(), "> 0");
  EXPECT_EQ(at_least(2).text(), ">= 2");
  EXPECT_EQ((Range{.high = 3}).text(), "<= 3");
  EXPECT_TRUE(half_open(0, 1).holds(0));
  EXPECT_FALSE(half_open(0, 1).holds(1));
  EXPECT_FALSE(above(0).holds(0));
  EXPECT_TRUE(Range{}.unbounded());
}

TEST(OptionError, WhatHasALineForEachProblem) {
  const OptionError error({{"a.toml:1:2", "unknown key \"x\""}, {"--lr", "needs a value"}});
  EXPECT_STREQ(error.what(), "a.toml:1:2: unknown key \"x\"\n--lr: needs a value");
}

}  // namespace
}  // namespace ballast

#include <ballast/base/config_file.h>

#include <gtest/gtest.h>

namespace ballast {
namespace {

struct TrainToy {
  Auto<int64_t> epochs;
  double lr = 0.1;
  std::string name = "sgd";
  std::vector<double> betas = {0.9, 0.999};
  double split_val = 0.1;
};
template <class Visitor>
void describe(Visitor& visit, TrainToy& o) {
  visit("epochs", o.epochs, {.help = "passes", .range = at_least(1)});
  visit("lr", o.lr, {.help = "rate", .range = above(0)});
  visit("name", o.name, {.help = "name", .choices = "sgd adam"});
  visit("betas", o.betas, {.help = "betas"});
  visit("split.val", o.split_val, {.help = "share"});
}

class ConfigFile : public ::testing::Test {
 protected:
  ConfigFile() { table.add("train", toy); }
  std::vector<std::string> toml(const char* text) {
    std::vector<std::string> out;
    for (const OptionProblem& p : apply_toml(table, text, "r.toml")) {
      out.push_back(p.place + ": " + p.text);
    }
    return out;
  }
  std::vector<std::string> env(std::vector<std::string> variables) {
    std::vector<std::string> out;
    for (const OptionProblem& p : apply_environment(table, variables)) {
      out.push_back(p.place + ": " + p.text);
    }
    return out;
  }
  using Lines = std::vector<std::string>;
  TrainToy toy;
  OptionTable table;
};

TEST_F(ConfigFile, SetsKeysWithTheirLineAsOrigin) {
  EXPECT_EQ(toml("[train]\nepochs = 3\nlr = 0.5\nbetas = [0.5, 0.9]\nsplit.val = 0.2\n"), Lines{});
  EXPECT_EQ(*toy.epochs, 3);
  EXPECT_EQ(toy.lr, 0.5);
  EXPECT_EQ(toy.betas, (std::vector<double>{0.5, 0.9}));
  EXPECT_EQ(toy.split_val, 0.2);
  EXPECT_EQ(table.find("train.lr")->origin, "r.toml:3");
  EXPECT_EQ(toml("train.split = { val = 0.3 }"), Lines{});
  EXPECT_EQ(toy.split_val, 0.3);
}

TEST_F(ConfigFile, ReportsEverythingAtOnceInTheFilesOrder) {
  EXPECT_EQ(toml("[train]\nname = \"adm\"\nepoch = 3\nlr = \"2e-5\"\n[trian]\nx = 1\n"),
            (Lines{"r.toml:2:8: train.name must be sgd or adam, got \"adm\"; did you mean \"adam\"?",
                   "r.toml:3:1: unknown key \"train.epoch\"; did you mean \"train.epochs\"?",
                   "r.toml:4:6: train.lr must be a number > 0, got \"2e-5\" (a text)",
                   "r.toml:5:2: unknown section \"trian\"; did you mean \"train\"?"}));
}

struct PipelineToy {
  std::string steps;
};
template <class Visitor>
void describe(Visitor& visit, PipelineToy& o) {
  visit("steps", o.steps, {.help = "pipeline", .check = [](const std::string& text) {
    return text.find("jiter") == std::string::npos ? std::string() : std::string("is wrong at jiter");
  }});
}

TEST(ConfigFileSteps, TablesWithOpAreAPipeline) {
  PipelineToy toy;
  OptionTable table;
  table.add("augment", toy);
  EXPECT_TRUE(apply_toml(table, "[[augment.steps]]\nop = \"rrc\"\nsize = 224\nscale = [0.08, 1]\n"
                                "[[augment.steps]]\nop = \"one_of\"\npipelines = [\"rotate(15)\", \"hflip | invert(1)\"]\nweights = [1, 2]\n"
                                "[[augment.steps]]\nop = \"pad\"\nfill = \"mean\"\n", "r.toml").empty());
  EXPECT_EQ(toy.steps, "rrc(scale=[0.08, 1], size=224) | one_of(rotate(15), hflip | invert(1), weights=[1, 2]) | pad(fill=\"mean\")");
  const auto problem = [&](const char* text) {
    const auto all = apply_toml(table, text, "r.toml");
    return all.size() == 1 ? all[0].place + ": " + all[0].text : std::to_string(all.size()) + " problems";
  };
  EXPECT_EQ(problem("[[augment.steps]]\nop = \"rrc\"\n[[augment.steps]]\nop = \"jiter\"\n"),
            "r.toml:3:1: [[augment.steps]] is wrong at jiter");
  EXPECT_EQ(problem("[[augment.steps]]\nsize = 224\n"), "r.toml:1:1: [[augment.steps]] needs op = \"NAME\"");
  EXPECT_EQ(problem("[[augment.steps]]\nop = \"pad\"\nwhen = 2020-01-01\n"),
            "r.toml:1:1: [[augment.steps]] when must be a number, a text, true, false or a list of them");
}

TEST_F(ConfigFile, SyntaxErrorsHaveAPlace) {
  const Lines lines = toml("[train]\nlr = \n");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(lines[0].starts_with("r.toml:2:")) << lines[0];
}

TEST_F(ConfigFile, SectionsKeysAndDatesOutOfPlaceAreNamed) {
  EXPECT_EQ(toml("train = 3"), Lines{"r.toml:1:1: \"train\" is a section: write [train] and its keys below"});
  EXPECT_EQ(toml("lr = 3"), Lines{"r.toml:1:1: unknown key \"lr\"; did you mean \"train.lr\"?"});
  EXPECT_EQ(toml("[train]\nlr = 2020-01-01"), Lines{"r.toml:2:6: train.lr must be number, got a date, time or table"});
  EXPECT_EQ(toml("[train]\nsplit.vall = 1"), Lines{"r.toml:2:7: unknown key \"train.split.vall\"; did you mean \"train.split.val\"?"});
}

TEST_F(ConfigFile, RenderedTextReadsBack) {
  toml("[train]\nepochs = 3\nlr = 0.25\nname = \"adam\"\nsplit.val = 0.5");
  const std::string text = table.render();
  TrainToy other;
  OptionTable again;
  again.add("train", other);
  EXPECT_TRUE(apply_toml(again, text, "x").empty());
  EXPECT_EQ(*other.epochs, 3);
  EXPECT_EQ(other.lr, 0.25);
  EXPECT_EQ(other.name, "adam");
  EXPECT_EQ(other.split_val, 0.5);
}

TEST_F(ConfigFile, EnvironmentSetsAndRefuses) {
  EXPECT_EQ(env({"BALLAST_TRAIN_LR=0.5", "BALLAST_TRAIN_SPLIT_VAL=0.25", "BALLAST_FORCE_TARGET=avx2", "HOME=/", "X"}), Lines{});
  EXPECT_EQ(toy.lr, 0.5);
  EXPECT_EQ(toy.split_val, 0.25);
  EXPECT_EQ(table.find("train.lr")->origin, "env");
  EXPECT_EQ(env({"BALLAST_TRAIN_LR=x", "BALLAST_TRAIN_EPOCH=3"}),
            (Lines{"BALLAST_TRAIN_EPOCH: unknown variable; did you mean \"BALLAST_TRAIN_EPOCHS\"?",
                   "BALLAST_TRAIN_LR: train.lr must be a number > 0, got \"x\""}));
}

}  // namespace
}  // namespace ballast

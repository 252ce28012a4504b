#include <ballast/report/probe_page.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::Not;

ProbeRun made_up(const std::string& init, double factor) {
  ProbeRun run{.init = init, .verdict = factor < 1 ? "vanishing" : "healthy", .level = factor < 1 ? "error" : "healthy",
               .layer = factor < 1 ? "layers.1.conv" : "", .cure = factor < 1 ? "he" : "", .text = "what <b>it</b> says", .loss = 2.4, .expected_loss = 2.3};
  double s = 1;
  for (int i = 0; i < 12; ++i, s *= factor) {
    run.layers.push_back({.name = "layers." + std::to_string(i) + ".conv", .kind = "conv2d, relu", .fan_in = 144, .he_ratio = 1, .signal = s,
                          .std = s, .zeros = 0.5, .output_gradient = s / 100, .update = 1e-3});
  }
  run.findings.push_back({"certain", "vanishing", "layers.1.conv", "the signal shrinks"});
  return run;
}

TEST(ProbePage, OneStart) {
  const std::string page = probe_page({.model = "plain_cnn:13", .lead = "a lead", .runs = {made_up("xavier", 0.1)}, .warnings = {"[dropout] a feeds b"}});
  EXPECT_THAT(page, HasSubstr("<!doctype html>"));
  EXPECT_THAT(page, HasSubstr("plain_cnn:13, start xavier"));
  EXPECT_THAT(page, HasSubstr("vanishing from layers.1.conv on"));
  EXPECT_THAT(page, HasSubstr("--init he"));
  EXPECT_THAT(page, HasSubstr("what &lt;b&gt;it"));
  EXPECT_THAT(page, HasSubstr("[dropout] a feeds b"));
  EXPECT_THAT(page, HasSubstr(">1e-9<"));  // a tick of the logarithmic axis
  EXPECT_THAT(page, HasSubstr("\"log\":true"));
  EXPECT_THAT(page, Not(HasSubstr("Against time steps")));
  EXPECT_LT(page.size(), 400'000u);
}

TEST(ProbePage, SeveralLaidOverEachOtherAndTimeSteps) {
  ProbeRun a = made_up("he", 1), b = made_up("xavier", 0.5);
  for (int i = 0; i < 5; ++i) a.steps.push_back({i, 1, 0.1, 1e-6 * (i + 1)});
  const std::string page = probe_page({.model = "m", .lead = "", .runs = {a, b}});
  EXPECT_THAT(page, HasSubstr("Layers, he"));
  EXPECT_THAT(page, HasSubstr("Layers, xavier"));
  EXPECT_THAT(page, HasSubstr("Against time steps"));
}

TEST(ProbePage, NumbersThatAreNotFiniteAreDashes) {
  ProbeRun run = made_up("normal:1", 1);
  run.layers[3].signal = INFINITY;
  run.layers[4].signal = NAN;
  run.layers[5].signal = 0;
  EXPECT_THAT(probe_page({.model = "m", .lead = "", .runs = {run}}), Not(HasSubstr("nan")));
  EXPECT_THROW(probe_page({.model = "m", .lead = ""}), std::invalid_argument);
}

}  // namespace
}  // namespace ballast

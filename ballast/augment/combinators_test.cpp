#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include <ballast/augment/pipeline.h>

namespace ballast {
namespace {

/// First letters of what was done, for each of n keys.
std::map<std::string, int> sequences(const std::string& text, int n) {
  const Pipeline p = Pipeline::parse(text);
  std::map<std::string, int> out;
  for (int i = 0; i < n; ++i) {
    std::string letters;
    for (const DrawNote& note : p.draw(16, 16, Key(9).fold_in(static_cast<uint64_t>(i)))) letters += note.name[0];
    ++out[letters];
  }
  return out;
}

/// Each share within 5 standard errors of its law, and nothing else drawn.
void expect_shares(const std::string& text, const std::map<std::string, double>& law) {
  const int n = 20'000;
  const auto got = sequences(text, n);
  EXPECT_EQ(got.size(), law.size()) << text;
  for (const auto& [letters, p] : law) {
    const auto at = got.find(letters);
    ASSERT_NE(at, got.end()) << text << ": " << letters;
    EXPECT_NEAR(at->second, n * p, 5 * std::sqrt(n * p * (1 - p))) << text << ": " << letters;
  }
}

// Notes: invert, solarize, grayscale, posterize.
TEST(Combinators, OneOfFollowsItsWeights) {
  expect_shares("one_of(invert(1), solarize, grayscale(1))", {{"i", 1. / 3}, {"s", 1. / 3}, {"g", 1. / 3}});
  expect_shares("one_of(invert(1), solarize | grayscale(1), posterize(3); weights=[1, 0, 3])", {{"i", 0.25}, {"p", 0.75}});
  expect_shares("one_of(invert(1), solarize, p=0.5)", {{"", 0.5}, {"i", 0.25}, {"s", 0.25}});
}

TEST(Combinators, SomeOfTakesEachOnceInTheOrderOfTheText) {
  expect_shares("some_of(2, invert(1), solarize, grayscale(1))", {{"is", 1. / 3}, {"ig", 1. / 3}, {"sg", 1. / 3}});
  expect_shares("some_of(0..2, invert(1), solarize)", {{"", 1. / 3}, {"i", 1. / 6}, {"s", 1. / 6}, {"is", 1. / 3}});
}

TEST(Combinators, SomeOfWithReplacementTakesAnyInTheOrderDrawn) {
  expect_shares("some_of(2, invert(1), solarize, replace=true)", {{"ii", 0.25}, {"is", 0.25}, {"si", 0.25}, {"ss", 0.25}});
  // A step that is done twice draws anew.
  const Pipeline twice = Pipeline::parse("some_of(2, rotate(50), replace=true)");
  const auto notes = twice.draw(16, 16, Key(1));
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_NE(notes[0].values, notes[1].values);
  // The first draws as if it stood alone.
  EXPECT_EQ(notes[0].values, Pipeline::parse("rotate(50)").draw(16, 16, Key(1))[0].values);
}

TEST(Combinators, AnyOrderHasAllOrdersEvenly) {
  std::map<std::string, double> law;
  for (const char* order : {"isg", "igs", "sig", "sgi", "gis", "gsi"}) law[order] = 1. / 6;
  expect_shares("any_order(invert(1), solarize, grayscale(1))", law);
}

TEST(Combinators, MaybeDoesAllOrNothing) {
  expect_shares("maybe(0.3, invert(1) | solarize)", {{"", 0.7}, {"is", 0.3}});
}

}  // namespace
}  // namespace ballast

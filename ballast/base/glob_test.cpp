#include <ballast/base/glob.h>

#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(Glob, MatchesWholeNames) {
  EXPECT_TRUE(glob_matches("layer1.*", "layer1.0.conv1.weight"));
  EXPECT_FALSE(glob_matches("layer1.*", "layer10.conv1.weight"));
  EXPECT_FALSE(glob_matches("layer1", "layer1.0"));
  EXPECT_TRUE(glob_matches("layer?.0.*.bias", "layer2.0.bn1.bias"));
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("*.bn*.*", "layer1.0.bn1.weight"));
  EXPECT_TRUE(glob_matches("a*b*c", "aXbYbZc"));
  EXPECT_FALSE(glob_matches("a*b*c", "aXbYbZ"));
  EXPECT_FALSE(glob_matches("?", ""));
  EXPECT_FALSE(glob_matches("", "x"));
  EXPECT_TRUE(glob_matches("[a].x", "[a].x"));  // nothing but * and ? is special
}

}  // namespace
}  // namespace ballast

#include <ballast/base/nearest_name.h>

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace ballast {
namespace {

const std::vector<std::string> kNames = {"train", "eval", "predict", "list", "inspect", "--epochs", "--batch-size"};

TEST(EditDistance, CountsInsertDeleteSubstituteAndSwap) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("train", "trian"), 1u);
  EXPECT_EQ(edit_distance("train", "trains"), 1u);
  EXPECT_EQ(edit_distance("train", "rain"), 1u);
  EXPECT_EQ(edit_distance("train", "drain"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ca", "abc"), 3u);  // restricted: the swapped pair is not edited again
}

TEST(EditDistance, IsSymmetricAndBoundedByTheLongerText) {
  EXPECT_TRUE(rc::check([](const std::string& a, const std::string& b) {
    RC_ASSERT(edit_distance(a, b) == edit_distance(b, a));
    RC_ASSERT(edit_distance(a, b) <= std::max(a.size(), b.size()));
    RC_ASSERT((edit_distance(a, b) == 0) == (a == b));
  }));
}

TEST(NearestName, FindsOneEditOfEachName) {
  for (const std::string& name : kNames) {
    for (size_t i = 0; i < name.size(); ++i) {
      std::string typo = name;
      typo.erase(i, 1);
      EXPECT_EQ(nearest_name(typo, kNames), name);
      typo = name;
      typo.insert(i, 1, 'q');
      EXPECT_EQ(nearest_name(typo, kNames), name);
      typo = name;
      typo[i] = 'q';
      EXPECT_EQ(nearest_name(typo, kNames), name);
    }
  }
}

TEST(NearestName, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("zebra", kNames), "");
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name("xy", kNames), "");
  EXPECT_EQ(did_you_mean("zebra", kNames), "");
}

TEST(NearestName, AllowsAThirdOfALongNameAndIgnoresCase) {
  EXPECT_EQ(nearest_name("--btch-sze", kNames), "--batch-size");
  EXPECT_EQ(nearest_name("TRAIN", kNames), "train");
  EXPECT_EQ(did_you_mean("Evla", kNames), "; did you mean \"eval\"?");
}

}  // namespace
}  // namespace ballast

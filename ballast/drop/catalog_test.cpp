#include <ballast/drop/catalog.h>

#include <filesystem>

#include <ballast/base/test_message.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

TEST(DropCatalog, EveryRowHasAHeaderAndAPage) {
  const std::filesystem::path root = BALLAST_TEST_SOURCE_DIR;
  for (const DropRow& row : kDrops) {
    const std::string stem(row.stem);
    EXPECT_TRUE(std::filesystem::exists(root / "ballast/drop" / (stem + ".h"))) << stem;
    EXPECT_TRUE(std::filesystem::exists(root / "docs/techniques" / (stem + ".md"))) << stem;
  }
}

TEST(DropCatalog, ValuesAreTakenApart) {
  EXPECT_EQ(parse_drop("dropout", "0.3").p, 0.3);
  const DropSpec block = parse_drop("drop_block", "0.1:5:shared");
  EXPECT_EQ(block.block_size, 5);
  EXPECT_TRUE(block.shared);
  EXPECT_EQ(parse_drop("drop_block", "0.1").block_size, 7);
  EXPECT_TRUE(parse_drop("drop_path", "0.5:batch").batch);
  EXPECT_FALSE(parse_drop("drop_path", "0.5:row").batch);
  const DropSpec connect = parse_drop("drop_connect", "0.5:shared:gaussian");
  EXPECT_TRUE(connect.shared && connect.gaussian);
}

TEST(DropCatalog, ErrorsSayWhatIsRequired) {
    EXPECT_EQ(message_of([] { parse_drop("dropout", "1.5"); }), "[dropout] P must be in [0, 1], got \"1.5\"");
  EXPECT_EQ(message_of([] { parse_drop("dropout", "nan"); }), "[dropout] P must be in [0, 1], got \"nan\"");
  EXPECT_EQ(message_of([] { parse_drop("drop_path", "1"); }), "[drop_path] P must be in [0, 1), got \"1\"");
  EXPECT_EQ(message_of([] { parse_drop("drop_path", "x"); }), "[drop_path] P must be in [0, 1), got \"x\"");
  EXPECT_EQ(message_of([] { parse_drop("drop_block", "0.1:0"); }), "[drop_block] SIZE must be a whole number from 1 to 65536, got \"0\"");
  EXPECT_EQ(message_of([] { parse_drop("dropout", "0.1:7"); }), "[dropout] the value must have the form P, got \"7\"");
  EXPECT_EQ(message_of([] { parse_drop("drop_path", "0.1:rows"); }), "[drop_path] the value must have the form P[:row|:batch], got \"rows\"");
}

TEST(DropCatalog, RatesByNameAreTakenApart) {
  EXPECT_TRUE(parse_drop_rates("0").empty());
  const auto rules = parse_drop_rates("layer3.*=0.2,fc*=0");
  ASSERT_EQ(rules.size(), 2U);
  EXPECT_EQ(rules[0].glob, "layer3.*");
  EXPECT_EQ(rules[0].p, 0.2);
  EXPECT_EQ(rules[1].glob, "fc*");
  EXPECT_EQ(rules[1].p, 0);
  for (const char* text : {"", "layer3", "layer3=", "=0.2", "layer3=1.5", "layer3=nan", "a=0.1,,b=0.2", "a=0.1x"}) {
    EXPECT_NE(message_of([&] { parse_drop_rates(text); }).find("[drop_rate] a rule must have the form GLOB=P with P in [0, 1]"), std::string::npos)
        << text;
  }
}

}  // namespace
}  // namespace ballast

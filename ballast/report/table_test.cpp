#include <ballast/report/table.h>

#include <limits>

#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(Table, ColumnsAreAlignedAndLinesHaveNoTrailingBlanks) {
  Table table({{"model"}, {"parameters", Table::Align::right}, {"size"}});
  table.row({"resnet20", "272,474", "32 x 32"});
  table.row({"mlp", "1,000"});
  EXPECT_EQ(table.text(),
            "model      parameters   size\n"
            "resnet20      272,474   32 x 32\n"
            "mlp             1,000\n");
}

TEST(Table, WideCharactersCountTwo) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("日本"), 4);
  EXPECT_EQ(display_width("e\u0301"), 1);
  EXPECT_EQ(display_width("\xff\xfe"), 2);
  Table table({{"a"}, {"b"}});
  table.row({"日本", "x"});
  table.row({"abcd", "y"});
  EXPECT_EQ(table.text({.titles = false}), "日本   x\nabcd   y\n");
}

TEST(Table, TheWidestTextColumnIsCutToFit) {
  Table table({{"path"}, {"n", Table::Align::right}});
  table.row({"a/very/long/path/to/a/picture.jpg", "12"});
  std::string text = table.text({.width = 20});
  EXPECT_EQ(text, "path               n\na/very/long/pa…   12\n");
}

TEST(Table, ControlCharactersDoNotReachTheTerminal) {
  Table table({{"name"}});
  table.row({"\x1b[31mred\n"});
  EXPECT_EQ(table.text({.titles = false}), "?[31mred?\n");
  EXPECT_EQ(printable("a\u202eb\u009bc"), "a?b?c");
}

TEST(Table, TooManyCellsAreRefused) {
  Table table({{"a"}});
  try {
    table.row({"1", "2"});
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(), "[table] a row must have at most 1 cells, got 2");
  }
  EXPECT_THROW(Table({}), std::invalid_argument);
}

TEST(Table, RuleStandsUnderTheTitles) {
  Table table({{"ab"}, {"c"}});
  table.row({"x", "yyy"});
  EXPECT_EQ(table.text({.rule = true}), "ab   c\n--   ---\nx    yyy\n");
}

TEST(Format, Numbers) {
  EXPECT_EQ(format_fixed(1.005, 1), "1.0");
  EXPECT_EQ(format_fixed(-0.0001, 2), "0.00");
  EXPECT_EQ(format_fixed(std::numeric_limits<double>::quiet_NaN(), 2), "-");
  EXPECT_EQ(format_fixed(-std::numeric_limits<double>::infinity(), 2), "-inf");
  EXPECT_EQ(format_significant(0.1, 3), "0.1");
  EXPECT_EQ(format_significant(123456, 3), "123456");
  EXPECT_EQ(format_significant(0.00001, 3), "1e-05");
  EXPECT_EQ(format_significant(0.012345, 3), "0.0123");
  EXPECT_EQ(format_significant(0, 3), "0");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(12), "12");
}

TEST(Format, DurationsAndBytes) {
  EXPECT_EQ(format_duration(0.44), "0.4 s");
  EXPECT_EQ(format_duration(12.3), "12 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(7620), "2 h 07 min");
  EXPECT_EQ(format_duration(3 * 86400 + 4 * 3600), "3 d 04 h");
  EXPECT_EQ(format_duration(-1), "-");
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(1400), "1.4 kB");
  EXPECT_EQ(format_bytes(38.2e6), "38.2 MB");
  EXPECT_EQ(format_bytes(999.9e6), "1.0 GB");
}

}  // namespace
}  // namespace ballast

#include <ballast/io/json.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <ballast/base/check.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(JsonValue, WritesEachKind) {
  JsonValue row = JsonValue::object();
  row["null"] = nullptr;
  row["yes"] = true;
  row["n"] = -3;
  row["u"] = UINT64_MAX;
  row["x"] = 0.1;
  row["text"] = "a\"\\/\b\f\n\r\t\x01\x7f\xc3\xa9";
  row["list"] = std::vector<double>{1, 0.5, kInf};
  row["words"] = std::vector<std::string>{"a", "b"};
  row["none"] = JsonValue::array();
  row["empty"] = JsonValue::object();
  EXPECT_EQ(row.text(),
            "{\"null\":null,\"yes\":true,\"n\":-3,\"u\":18446744073709551615,\"x\":0.1,"
            "\"text\":\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\xc3\xa9\",\"list\":[1,0.5,\"inf\"],"
            "\"words\":[\"a\",\"b\"],\"none\":[],\"empty\":{}}");
}

TEST(JsonValue, KeepsTheOrderOfMembers) {
  JsonValue row;
  row["z"] = 1;
  row["a"] = 2;
  row["z"] = 3;
  EXPECT_EQ(row.text(), "{\"z\":3,\"a\":2}");
}

TEST(JsonValue, IndentsOnRequest) {
  JsonValue row;
  row["a"].push_back(1);
  row["b"] = JsonValue::object();
  EXPECT_EQ(row.text(2), "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
}

TEST(JsonValue, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(JsonValue("a\xff"
                      "b\xc3")
                .text(),
            "\"a\xef\xbf\xbd"
            "b\xef\xbf\xbd\"");
}

TEST(JsonValue, NonFiniteNumbersAreStringsAndComeBack) {
  for (const double x : {kInf, -kInf, kNan}) {
    const JsonValue back = parse_json(JsonValue(x).text(), "t");
    EXPECT_TRUE(back.is_string());
    EXPECT_TRUE(back.is_number());
    EXPECT_TRUE(back.number() == x || (std::isnan(x) && std::isnan(back.number())));
  }
  EXPECT_FALSE(JsonValue("infinite").is_number());
}

TEST(JsonValue, AskingForAnotherKindIsADataError) {
  const JsonValue text("x"), number(1.5), negative(-1), large(UINT64_MAX);
  EXPECT_THAT([&] { text.number(); },
              ThrowsMessage<DataError>("[json] value must be a number, got a string"));
  EXPECT_THAT([&] { number.integer(); },
              ThrowsMessage<DataError>("[json] value must be an integer, got a number"));
  EXPECT_THROW(number.string(), DataError);
  EXPECT_THROW(number.boolean(), DataError);
  EXPECT_THROW(number.unsigned_integer(), DataError);
  EXPECT_THAT([&] { negative.unsigned_integer(); },
              ThrowsMessage<DataError>("[json] value must be 0 or more, got -1"));
  EXPECT_THAT([&] { large.integer(); }, ThrowsMessage<DataError>(HasSubstr("below 2^63")));
  EXPECT_THROW(number.at("a"), DataError);
  EXPECT_THROW(JsonValue(nullptr).string(), DataError);
  EXPECT_THROW(JsonValue(true).string(), DataError);
  EXPECT_THROW(JsonValue::array().string(), DataError);
  EXPECT_THAT([&] { JsonValue::object().at("loss"); },
              ThrowsMessage<DataError>("[json] member \"loss\" is required, got none"));
  JsonValue list = JsonValue::array();
  EXPECT_THROW(list["a"], DataError);
  JsonValue row = JsonValue::object();
  EXPECT_THROW(row.push_back(1), DataError);
}

TEST(JsonValue, ReadsMembers) {
  const JsonValue row =
      parse_json(R"({"a": 1, "b": "x", "c": -2.5, "d": [1, 2], "e": null, "f": true})", "t");
  EXPECT_EQ(row.at("a").integer(), 1);
  EXPECT_EQ(row.at("a").number(), 1.0);
  EXPECT_EQ(row.at("b").string(), "x");
  EXPECT_EQ(row.at("c").number(), -2.5);
  EXPECT_EQ(row.at("d").elements().size(), 2U);
  EXPECT_EQ(row.at("d").size(), 2U);
  EXPECT_EQ(row.size(), 6U);
  EXPECT_TRUE(row.at("e").is_null());
  EXPECT_TRUE(row.at("f").boolean());
  EXPECT_EQ(row.find("g"), nullptr);
  EXPECT_EQ(row.number_or("c", 0), -2.5);
  EXPECT_EQ(row.number_or("b", 7), 7);
  EXPECT_EQ(row.number_or("g", 7), 7);
  EXPECT_EQ(row.string_or("b", "-"), "x");
  EXPECT_EQ(row.string_or("a", "-"), "-");
  EXPECT_EQ(parse_json("18446744073709551615", "t").unsigned_integer(), UINT64_MAX);
  EXPECT_EQ(parse_json("18446744073709551615", "t").number(), 18446744073709551615.0);
}

TEST(ParseJson, RefusesWhatIsNotJson) {
  for (const char* text : {"", " ", "{", "[1,]", "{\"a\":1,}", "{'a':1}", "nan", "NaN", "01", "1 2",
                           "// c\n1", "\"\xff\"", "\xef\xbb\xbf{}", "1e999", "\"\\ud800\"", "[1"}) {
    EXPECT_THROW(parse_json(text, "t"), DataError) << text;
  }
  EXPECT_THROW(parse_json(std::string_view("{}\0", 3), "t"), DataError);
}

TEST(ParseJson, NamesTheTextAndTheByte) {
  EXPECT_THAT([] { parse_json("{\"a\":x}", "runs/a.json"); },
              ThrowsMessage<DataError>(testing::AllOf(HasSubstr("[json] runs/a.json: must be JSON"),
                                                      HasSubstr("at byte 6"))));
}

TEST(ParseJson, DepthIsLimited) {
  const auto nested = [](int n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_NO_THROW(parse_json(nested(64), "t"));
  EXPECT_THAT([&] { parse_json(nested(65), "t"); },
              ThrowsMessage<DataError>("[json] t: must be at most 64 levels deep, got more"));
  EXPECT_NO_THROW(parse_json("{\"a\":1}", "t", {.max_depth = 1}));
  EXPECT_THROW(parse_json("{\"a\":{}}", "t", {.max_depth = 1}), DataError);
  EXPECT_THROW(parse_json(std::string(1'000'000, '['), "t"), DataError);
}

TEST(ParseJson, DuplicateNames) {
  EXPECT_THAT(
      [] { parse_json(R"({"a":1,"\u0061":2})", "t"); },
      ThrowsMessage<DataError>("[json] t: names in an object must be unique, got \"a\" twice"));
  EXPECT_EQ(parse_json(R"({"a":1,"a":2})", "t", {.refuse_duplicates = false}).at("a").integer(), 2);
}

TEST(ShortestText, KnownAnswers) {
  EXPECT_EQ(shortest_text(0.1), "0.1");
  EXPECT_EQ(shortest_text(3), "3");
  EXPECT_EQ(shortest_text(1e-7), "1e-07");
  EXPECT_EQ(shortest_text(1e22), "1e+22");
  EXPECT_EQ(shortest_text(-0.0), "-0.0");
  EXPECT_EQ(shortest_text(kNan), "nan");
  EXPECT_EQ(shortest_text(-kInf), "-inf");
}

TEST(ShortestText, EveryDoubleReadsBackToItsBits) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const double x = std::bit_cast<double>(static_cast<uint64_t>(random()));
    if (!std::isfinite(x)) continue;
    const double back = parse_json(JsonValue(x).text(), "t").number();
    ASSERT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(x)) << shortest_text(x);
  }
  for (const double x :
       {0.0, -0.0, 5e-324, 1.7976931348623157e308, 9007199254740993.0, 1.2345678901234567e19}) {
    const double back = parse_json(JsonValue(x).text(), "t").number();
    EXPECT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(x)) << shortest_text(x);
  }
}

TEST(IsUtf8, Borders) {
  for (const char* good : {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
        "\xe2\x28\xa1", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_FALSE(is_utf8(bad)) << bad;
  }
}

TEST(Json, AnyStringComesBack) {
  EXPECT_TRUE(rc::check("write, then read", [](const std::vector<uint16_t>& units) {
    std::string text;
    for (const uint16_t unit : units) {
      if (unit < 0x80) {
        text += static_cast<char>(unit);
      } else if (unit < 0x800) {
        text += static_cast<char>(0xc0 | unit >> 6);
        text += static_cast<char>(0x80 | (unit & 0x3f));
      }
    }
    RC_ASSERT(is_utf8(text));
    RC_ASSERT(parse_json(JsonValue(text).text(), "t").string() == text);
  }));
}

}  // namespace
}  // namespace ballast

#include <ballast/report/html.h>

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace ballast {
namespace {

TEST(Html, TextAndAttributesAreEscaped) {
  Html h;
  h.open("p", {{"title", "\"a\" & 'b'"}}).text("1 < 2 > 0").close();
  EXPECT_EQ(h.str(), "<p title=\"&quot;a&quot; &amp; &#39;b&#39;\">1 &lt; 2 &gt; 0</p>");
}

TEST(Html, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(escape_html("a\xff\xc3"), "a\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(escape_html("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  EXPECT_EQ(escape_html("\xc0\xbc"), "\xef\xbf\xbd\xef\xbf\xbd");  // an overlong '<'
  EXPECT_EQ(escape_html("日本 é 🙂"), "日本 é 🙂");
}

TEST(Html, ControlCharactersAreLeftOut) {
  EXPECT_EQ(escape_html(std::string("a\0\x1b[1m\tb\n\x7f\xc2\x9b", 12)), "a[1m\tb\n");
}

TEST(Html, NoTextBecomesMarkup) {
  rc::check("escaped text holds none of < > \" '", [](const std::string& text) {
    std::string out = escape_html(text);
    RC_ASSERT(out.find_first_of("<>\"'") == std::string::npos);
  });
}

TEST(Html, NamesAreChecked) {
  Html h;
  EXPECT_THROW(h.open("p onclick"), std::invalid_argument);
  EXPECT_THROW(h.open("p", {{"a=b", ""}}), std::invalid_argument);
  EXPECT_THROW(h.open(""), std::invalid_argument);
}

TEST(Html, ElementsMustBeClosed) {
  Html h;
  h.open("p");
  EXPECT_THROW(h.str(), std::invalid_argument);
  Html other;
  EXPECT_THROW(other.add(h), std::invalid_argument);
  EXPECT_THROW(other.close(), std::invalid_argument);
}

TEST(Html, AJsonBlockCannotEndItself) {
  Html h;
  h.json("d", "{\"a\":\"</script><script>\"}");
  EXPECT_EQ(h.str(),
            "<script type=\"application/json\" "
            "id=\"d\">{\"a\":\"\\u003c/script>\\u003cscript>\"}</script>");
}

TEST(Html, AScriptThatEndsItselfIsRefused) {
  Html h;
  EXPECT_THROW(h.script("a = '</script>'"), std::invalid_argument);
  EXPECT_THROW(h.style("</style>"), std::invalid_argument);
}

}  // namespace
}  // namespace ballast

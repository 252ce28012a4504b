#include <ballast/report/lr_page.h>

#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(LrPage, ShowsTheCurveAndTheSuggestions) {
  LrPage page{.model = "a<b", .lead = "lead", .end = "ended"};
  for (int i = 0; i < 30; ++i) {
    page.lr.push_back(1e-4 * (i + 1));
    page.loss.push_back(2 - 0.01 * i);
    page.smoothed.push_back(2 - 0.01 * i);
  }
  page.steepest = 0.00123;
  const std::string html = lr_page(page);
  EXPECT_NE(html.find("a&lt;b"), std::string::npos);
  EXPECT_EQ(html.find("a<b"), std::string::npos);
  EXPECT_NE(html.find("--lr 0.0012"), std::string::npos);
  EXPECT_EQ(html.find("min/10"), std::string::npos);  // not known: not shown
  EXPECT_NE(html.find("<svg"), std::string::npos);
}

TEST(LrPage, Errors) {
  EXPECT_THROW(lr_page({}), std::invalid_argument);
  EXPECT_THROW(lr_page({.lr = {1, 2}, .loss = {1}, .smoothed = {1, 2}}), std::invalid_argument);
}

}  // namespace
}  // namespace ballast

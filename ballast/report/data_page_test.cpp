#include <ballast/report/data_page.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(DataPage, ShowsFindingsClassesGroupsAndBadFiles) {
  const PagePicture picture{.bytes = "PNG", .type = "image/png", .width = 20, .height = 10, .name = "cat/<1>.png", .note = "cat, train"};
  const DataPage page{.name = "photos",
                      .lead = "a lead",
                      .findings = {{"error", "1 leak", "what <b>it</b> says", "remove one"}, {"warning", "tiny", "few"}},
                      .parts = {"train", "test"},
                      .classes = {{"cat", {3000, 10}, {picture}}, {"dog", {1000, 0}, {}}},
                      .facts = {{"height", "10 to 20"}},
                      .histograms = {{"Shorter side", {{"up to 64", 12}, {"more", 3}}}},
                      .same = {{"in train and test", "error", {picture, picture}}},
                      .same_total = 3,
                      .bad = {{"cat/x.png", "train", "truncated", "row 3 of 5", 77}},
                      .bad_total = 1};
  const std::string html = data_page(page);
  for (const char* text : {"<!doctype html>", "photos - ballast data check", "what &lt;b&gt;it", "\xe2\x9c\x96 Problem", "remove one", ">3,000<",
                           "75.1 %", "cat/&lt;1&gt;.png", "data:image/png;base64,UE5H", "and 2 more groups, in the JSON report",
                           "cat/x.png", "truncated", "row 3 of 5", "up to 64", "10 to 20"}) {
    EXPECT_THAT(html, HasSubstr(text));
  }
  EXPECT_THAT(html, Not(HasSubstr("look alike")));
}

TEST(DataPage, NothingFoundIsSaid) {
  const std::string html = data_page({.name = "m", .lead = ""});
  EXPECT_THAT(html, HasSubstr("Nothing to mend was found."));
  EXPECT_THAT(html, Not(HasSubstr("Files that cannot be used")));
}

}  // namespace
}  // namespace ballast

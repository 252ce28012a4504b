#include <ballast/report/ensemble_page.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::Not;

EnsemblePage page() {
  EnsemblePage p{.title = "five <nets>", .lead = "role test"};
  p.rows.push_back({.name = "a", .accuracy = {.8, .78, .82}, .nll = {.5, .4, .6}, .ece = {.05, .04, .06}, .brier = {.3, .2, .4}, .weight = .5, .verdict = "keep"});
  p.rows.push_back({.name = "b", .accuracy = {.84, .8, .9}, .nll = {.7, .6, .8}, .ece = {.05, .04, .06}, .brier = {.3, .2, .4}, .weight = .5, .verdict = "can go"});
  p.rows.push_back({.name = "mean_probability", .accuracy = {.9, .88, .92}, .nll = {.3, .2, .4}, .ece = {.02, .01, .03}, .brier = {.2, .1, .3}, .verdict = "", .combined = true});
  p.sizes = {{1, {.82, .8, .84}, {.6, .5, .7}}, {2, {.9, .88, .92}, {.3, .2, .4}}};
  p.members = {"a", "b"};
  p.pairs = {{0, 1, .125, .5, .75, .0625}};
  p.group = {{"mean disagreement", "12.5 %"}};
  p.before = {{0, .5, 10, .4, .5}, {.5, 1, 90, .8, .9}};
  p.after = p.before;
  p.temperature = 1.5;
  p.ece_before = .1;
  p.ece_after = .05;
  p.perfect = "0.6 %";
  return p;
}

TEST(EnsemblePage, SaysWhatItIsTold) {
  const std::string html = ensemble_page(page());
  EXPECT_THAT(html, HasSubstr("five &lt;nets&gt;"));
  EXPECT_THAT(html, HasSubstr("90.00 %"));
  EXPECT_THAT(html, HasSubstr("8.00 points"));         // over the mean member, 82 %
  EXPECT_THAT(html, HasSubstr("-50.0 %"));             // NLL .3 against .6
  EXPECT_THAT(html, HasSubstr("12.5"));
  EXPECT_THAT(html, HasSubstr("can go"));
  EXPECT_THAT(html, HasSubstr("With temperature 1.500: ECE 5.00 %"));
  EXPECT_THAT(html, Not(HasSubstr("nan")));
}

TEST(EnsemblePage, MembersAreNotComparedWithATemperatureThatTheyLack) {
  EnsemblePage p = page();
  p.rows.push_back(p.rows.back());
  p.rows.back().name = "with temperature";
  p.rows.back().nll.value = .2;
  const std::string html = ensemble_page(p);
  EXPECT_THAT(html, HasSubstr("-50.0 %"));
  EXPECT_THAT(html, HasSubstr("0.6000 alone, 0.3000 together, both without temperature"));
}

TEST(EnsemblePage, DisputesShowThePictureAndWhoSaysWhat) {
  EnsemblePage p = page();
  p.disputes.push_back({.picture = {.bytes = "png!", .type = "image/png", .width = 28, .height = 28, .name = "owl/7.png", .note = ""},
                        .truth = "owl",
                        .answer = "<cat>",
                        .confidence = .5,
                        .votes = {{"<cat>", .9}, {"owl", .8}, {"<cat>", .62}},
                        .information = .51});
  const std::string html = ensemble_page(p);
  EXPECT_THAT(html, HasSubstr("src=\"data:image/png;base64,cG5nIQ==\""));
  EXPECT_THAT(html, HasSubstr("alt=\"owl, taken for &lt;cat&gt;\""));
  EXPECT_THAT(html, HasSubstr("<b>&lt;cat&gt;</b> 62 to 90\u00a0%"));
  EXPECT_THAT(html, HasSubstr("members 1, 3"));
  EXPECT_THAT(html, HasSubstr("member 2"));
  EXPECT_THAT(html, HasSubstr("owl/7.png, 0.51 nats"));
  p.disputes[0].picture.bytes.clear();
  p.disputes_note = "The data is gone.";
  const std::string without = ensemble_page(p);
  EXPECT_THAT(without, Not(HasSubstr("<img")));
  EXPECT_THAT(without, HasSubstr("The data is gone."));
  EXPECT_THAT(without, HasSubstr("members 1, 3"));
}

TEST(EnsemblePage, PartsWithoutDataAreLeftOut) {
  EnsemblePage p{.title = "one", .lead = ""};
  p.rows.push_back({.name = "a", .accuracy = {.8, .7, .9}, .nll = {.5, .4, .6}, .ece = {.05, .04, .06}, .brier = {.3, .2, .4}, .verdict = "", .combined = true});
  const std::string html = ensemble_page(p);
  EXPECT_THAT(html, Not(HasSubstr("How members differ")));
  EXPECT_THAT(html, Not(HasSubstr("Against the number")));
  EXPECT_THAT(html, Not(HasSubstr("Where members disagree")));
  EXPECT_THROW(ensemble_page({}), std::invalid_argument);
}

}  // namespace
}  // namespace ballast

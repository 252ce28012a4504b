#include <algorithm>
#include <cmath>

#include <ballast/report/page_sections.h>
#include <ballast/report/table.h>

namespace ballast {

void RunSections::gallery(const std::vector<PagePicture>& pictures, const char* kind,
                          const std::string& label) {
  h_.open("ul", {{"class", kind}, {"aria-label", label}});
  for (const PagePicture& p : pictures) {
    std::string truth = p.target >= 0 ? r_.class_name(p.target) : "";
    std::string said = p.pred >= 0 ? r_.class_name(p.pred) : "";
    std::string alt = said.empty() ? "augmented: " + (truth.empty() ? p.name : truth)
                                   : truth + ", taken for " + said;
    if (p.pred >= 0 && p.pred == p.target) {
      alt = truth + ", recognized";
    }
    h_.open("li");
    bool small = std::max(p.width, p.height) <= 64;
    h_.single("img", {{"src", "data:" + p.type + ";base64," + base64(p.bytes)},
                      {"alt", alt},
                      {"width", std::to_string(p.width)},
                      {"height", std::to_string(p.height)},
                      {"class", small ? "small" : "photo"}});
    if (!said.empty()) {
      h_.open("span").element("b", truth);
      if (p.pred != p.target) {
        h_.text(" \u2192 ").element("b", said);
      }
      if (std::isfinite(p.confidence)) {
        h_.text(" " + format_fixed(100 * p.confidence, 0) + "\u00a0%");
      }
      h_.close();
    } else if (!truth.empty()) {
      h_.element("span", truth);
    }
    if (!p.name.empty()) {
      h_.element("span", p.name, {{"class", "path"}});
    }
    if (!p.note.empty()) {
      h_.element("span", p.note, {{"class", "path"}});
    }
    h_.close();
  }
  h_.close();
}

void RunSections::sample_list(bool wrong) {
  std::vector<PredictionRow> list;
  for (const PredictionRow& row : rows()) {
    if (!wrong || !row.right()) {
      list.push_back(row);
    }
  }
  auto order = [&](const PredictionRow& a, const PredictionRow& b) {
    return a.confidence != b.confidence ? (a.confidence > b.confidence) == wrong
                                        : a.index < b.index;
  };
  size_t n = std::min<size_t>(24, list.size());
  std::partial_sort(list.begin(), list.begin() + static_cast<ptrdiff_t>(n), list.end(), order);
  h_.open("div", {{"class", "scroll"},
                  {"tabindex", "0"},
                  {"role", "group"},
                  {"aria-label", wrong ? "Most wrong" : "Least certain"}});
  h_.open("table").open("thead").open("tr");
  for (const char* title : {"sample", "is", "taken for"}) {
    h_.element("th", title, {{"scope", "col"}});
  }
  h_.element("th", "sure", {{"scope", "col"}, {"class", "n"}}).close().close().open("tbody");
  for (size_t i = 0; i < n; ++i) {
    h_.open("tr")
        .element("td", r_.sample_name(list[i].index))
        .element("td", r_.class_name(list[i].target));
    h_.element("td", r_.class_name(list[i].pred))
        .element("td", format_fixed(100 * list[i].confidence, 0) + " %", {{"class", "n"}})
        .close();
  }
  h_.close().close().close();
}

void RunSections::pictures() {
  begin("mistakes", "Mistakes and doubts");
  if (rows().empty() && run_.wrongest.empty()) {
    h_.element("p",
               r_.several_labels ? "The page shows mistakes of pictures with one label only; "
                                   "predictions/ has the scores of each picture."
                                 : "No predictions were recorded.",
               {{"class", "none"}});
    end();
    return;
  }
  if (!run_.pictures_note.empty() && run_.wrongest.empty() && run_.uncertain.empty()) {
    h_.element("p", run_.pictures_note, {{"class", "none"}});
  }
  int64_t wrong = 0;
  for (const PredictionRow& row : rows()) {
    wrong += row.right() ? 0 : 1;
  }
  h_.element(sub(), "Most wrong");
  h_.element("p",
             format_count(wrong) + " of " + format_count(static_cast<int64_t>(rows().size())) +
                 " pictures of " + part_name() +
                 " were taken for something else. These are the ones it was surest about: often "
                 "the label is wrong, "
                 "or the picture shows something else as well.",
             {{"class", "summary"}});
  if (!run_.wrongest.empty()) {
    gallery(run_.wrongest, "pictures", "Most wrong");
  } else if (wrong > 0) {
    sample_list(true);
  }
  h_.element(sub(), "Least certain");
  h_.element("p",
             "The pictures with the lowest confidence: more like these in the training part "
             "teach it most.",
             {{"class", "summary"}});
  if (!run_.uncertain.empty()) {
    gallery(run_.uncertain, "pictures", "Least certain");
  } else {
    sample_list(false);
  }
  end();
}

void RunSections::first_batch() {
  begin("batch", "First batch");
  if (run_.first_batch.empty()) {
    h_.element("p",
               run_.pictures_note.empty() ? "There are no pictures of it." : run_.pictures_note,
               {{"class", "none"}});
  } else {
    std::string pipeline = r_.config_text("augment.train");
    h_.element(
        "p",
        "What the model saw in its first step: the training pictures after augmentation" +
            (pipeline.empty() || pipeline == "auto" ? std::string(".") : ", " + pipeline + "."),
        {{"class", "summary"}});
    gallery(run_.first_batch, "pictures batch", "First augmented batch");
  }
  end();
}

}  // namespace ballast

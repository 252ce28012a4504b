#include <ballast/report/ensemble_page.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/report/html.h>
#include <ballast/report/page_parts.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

std::string range(const PageValue& v, double scale, int digits) {
  return std::isfinite(v.low) ? format_fixed(scale * v.low, digits) + " to " + format_fixed(scale * v.high, digits) : "";
}

class Page {
 public:
  explicit Page(const EnsemblePage& page) : page_(page) {}

  std::string make() {
    result();
    members();
    sizes();
    diversity();
    reliability();
    disputes();
    return framed_page({.kind = "ballast ensemble", .tab = page_.title + " - ballast ensemble", .title = page_.title, .lead = page_.lead, .entries = entries_}, h_);
  }

 private:
  void begin(const std::string& id, const std::string& title) {
    entries_.emplace_back(id, title);
    h_.open("section", {{"id", id}, {"aria-labelledby", id + "-h"}}).element("h2", title, {{"id", id + "-h"}});
  }
  void end() { h_.close(); }
  void cell(const std::string& text) { h_.element("td", text, {{"class", "n"}}); }
  void head(const char* text, bool number = true) {
    if (number) {
      h_.element("th", text, {{"scope", "col"}, {"class", "n"}});
    } else {
      h_.element("th", text, {{"scope", "col"}});
    }
  }
  void table(const std::string& label) {
    h_.open("div", {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", label}}).open("table").open("thead").open("tr");
  }

  void result() {
    begin("result", "Result");
    const EnsemblePageRow& last = page_.rows.back();
    double accuracy = 0, nll = 0, count = 0;
    for (const EnsemblePageRow& r : page_.rows) {
      if (r.combined) continue;
      accuracy += r.accuracy.value;
      nll += r.nll.value;
      ++count;
    }
    h_.open("dl", {{"class", "hero"}});
    const auto fact = [&](const std::string& name, const std::string& value, const std::string& small, bool first) {
      h_.open("div", {{"class", first ? "first" : "fact"}}).element("dt", name).open("dd").text(value).element("small", small).close().close();
    };
    fact("accuracy", format_fixed(100 * last.accuracy.value, 2) + " %", "95 %: " + range(last.accuracy, 100, 2), true);
    if (count > 0) fact("over the mean member", format_fixed(100 * (last.accuracy.value - accuracy / count), 2) + " points", format_fixed(100 * accuracy / count, 2) + " % alone", false);
    fact("NLL", format_fixed(last.nll.value, 4), "95 %: " + range(last.nll, 1, 4), false);
    // Members have no temperature of their own: without one on either side.
    const auto combined = std::ranges::find(page_.rows, true, &EnsemblePageRow::combined);
    const EnsemblePageRow& raw = combined == page_.rows.end() ? last : *combined;
    const std::string together = &raw == &last ? "" : ", " + format_fixed(raw.nll.value, 4) + " together, both without temperature";
    if (count > 0) fact("NLL against the mean member", format_fixed(100 * (raw.nll.value / (nll / count) - 1), 1) + " %", format_fixed(nll / count, 4) + " alone" + together, false);
    fact("calibration error", format_fixed(100 * last.ece.value, 2) + " %", "95 %: " + range(last.ece, 100, 2), false);
    h_.close();
    if (!page_.notes.empty()) {
      h_.open("ul", {{"class", "alerts"}});
      for (const std::string& note : page_.notes) {
        h_.open("li", {{"class", "alert warning"}}).open("h3").element("span", "\u25b2 Warning", {{"class", "tag"}}).close().element("p", note).close();
      }
      h_.close();
    }
    end();
  }

  void members() {
    begin("members", "Members");
    table("Members");
    head("", false);
    for (const char* title : {"accuracy %", "95 %", "NLL", "95 %", "ECE %", "95 %", "Brier", "weight"}) head(title);
    head("without it", false);
    h_.close().close().open("tbody");
    for (const EnsemblePageRow& r : page_.rows) {
      h_.open("tr", {{"class", r.combined ? "differs" : "plain"}}).element("th", r.name, {{"scope", "row"}});
      cell(format_fixed(100 * r.accuracy.value, 2));
      cell(range(r.accuracy, 100, 2));
      cell(format_fixed(r.nll.value, 4));
      cell(range(r.nll, 1, 4));
      cell(format_fixed(100 * r.ece.value, 2));
      cell(range(r.ece, 100, 2));
      cell(format_fixed(r.brier.value, 4));
      cell(std::isfinite(r.weight) ? format_fixed(r.weight, 3) : "-");
      h_.element("td", r.verdict).close();
    }
    h_.close().close().close();
    end();
  }

  void sizes() {
    if (page_.sizes.size() < 2) return;
    begin("size", "Against the number of members");
    h_.open("div", {{"class", "charts"}});
    const auto chart = [&](const std::string& id, const std::string& title, const std::string& about, PageValue EnsemblePageSize::* field, bool percent) {
      LineChart c{.id = id, .title = title, .summary = about, .x_title = "members", .percent = percent, .whole_x = true};
      ChartSeries value{.name = "mean probability", .points = {}, .style = 0, .dots = true}, low{.name = "95 %, low", .points = {}, .style = 7}, high{.name = "95 %, high", .points = {}, .style = 7};
      for (const EnsemblePageSize& s : page_.sizes) {
        const auto x = static_cast<double>(s.size);
        value.points.push_back({x, (s.*field).value});
        low.points.push_back({x, (s.*field).low});
        high.points.push_back({x, (s.*field).high});
      }
      c.series = {value, low, high};
      c.x_min = 1;
      c.x_max = static_cast<double>(page_.sizes.back().size);
      h_.add(line_chart(c));
    };
    chart("size-accuracy", "Accuracy, %", "Over random orders of the members; the interval holds the choice of members and of rows.", &EnsemblePageSize::accuracy, true);
    chart("size-nll", "NLL", "Nats a picture; lower is better.", &EnsemblePageSize::nll, false);
    h_.close();
    end();
  }

  void diversity() {
    if (page_.pairs.empty()) return;
    begin("diversity", "How members differ");
    const size_t n = page_.members.size();
    double least = 1, most = 0;
    for (const EnsemblePagePair& p : page_.pairs) {
      least = std::min(least, p.disagreement);
      most = std::max(most, p.disagreement);
    }
    if (n <= 30) {
      h_.element("p", "Share of rows, in percent, on which exactly one of two members is right.", {{"class", "summary"}});
      h_.open("div", {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", "Disagreement of pairs"}});
      h_.open("table", {{"class", "pairs"}}).open("thead").open("tr").element("td", "");
      for (size_t j = 0; j < n; ++j) head(std::to_string(j + 1).c_str());
      h_.close().close().open("tbody");
      for (size_t i = 0; i < n; ++i) {
        h_.open("tr").element("th", std::to_string(i + 1) + "  " + page_.members[i], {{"scope", "row"}});
        for (size_t j = 0; j < n; ++j) {
          const auto at = std::ranges::find_if(page_.pairs, [&](const EnsemblePagePair& p) {
            return p.i == static_cast<int64_t>(std::min(i, j)) && p.j == static_cast<int64_t>(std::max(i, j));
          });
          if (at == page_.pairs.end()) {
            cell("");
          } else {
            const int64_t shade = most > least ? 5 + std::lround(50 * (at->disagreement - least) / (most - least)) : 20;
            h_.element("td", format_fixed(100 * at->disagreement, 1), {{"class", "n"}, {"style", "background: color-mix(in srgb, var(--heat) " + std::to_string(shade) + "%, transparent)"}});
          }
        }
        h_.close();
      }
      h_.close().close().close();
    }
    h_.element("h3", "The group");
    table("Measures of the group");
    head("measure", false);
    head("value");
    h_.close().close().open("tbody");
    for (const auto& [name, value] : page_.group) {
      h_.open("tr").element("th", name, {{"scope", "row"}});
      cell(value);
      h_.close();
    }
    h_.close().close().close();
    h_.open("details", {{"class", "data"}}).element("summary", "All pairs");
    table("Pairs");
    for (const char* title : {"members", "disagreement %", "kappa", "Q", "both wrong %"}) head(title);
    h_.close().close().open("tbody");
    for (const EnsemblePagePair& p : page_.pairs) {
      h_.open("tr");
      cell(std::to_string(p.i + 1) + ", " + std::to_string(p.j + 1));
      cell(format_fixed(100 * p.disagreement, 2));
      cell(format_fixed(p.kappa, 3));
      cell(format_fixed(p.q, 3));
      cell(format_fixed(100 * p.double_fault, 2));
      h_.close();
    }
    h_.close().close().close().close();
    end();
  }

  void reliability() {
    if (page_.before.empty()) return;
    begin("reliability", "Reliability");
    h_.element("p", "Bars: how often rows of a confidence are right. On the diagonal, confidence is what it says. The calibration error of perfect probabilities "
                    "would be " + page_.perfect + ".", {{"class", "summary"}});
    h_.open("div", {{"class", "charts"}});
    const auto one = [&](const std::string& id, const std::string& title, const std::vector<ReliabilityBin>& bins, double ece) {
      h_.open("div").element("h3", title + ": ECE " + format_fixed(100 * ece, 2) + " %").add(reliability_diagram(id, bins)).close();
    };
    one("reliability-before", "Before calibration", page_.before, page_.ece_before);
    if (!page_.after.empty()) one("reliability-after", "With temperature " + format_fixed(page_.temperature, 3), page_.after, page_.ece_after);
    h_.close();
    end();
  }

  // Members that give one answer, in their order: "1, 2, 4" with the confidences they have in it.
  void votes(const EnsemblePageDispute& d) {
    std::vector<std::string> seen;
    h_.open("ul", {{"class", "votes"}});
    for (const EnsemblePageDispute::Vote& v : d.votes) {
      if (std::ranges::find(seen, v.answer) != seen.end()) continue;
      seen.push_back(v.answer);
      std::string who;
      double low = 1, high = 0;
      for (size_t m = 0; m < d.votes.size(); ++m) {
        if (d.votes[m].answer != v.answer) continue;
        who += (who.empty() ? "" : ", ") + std::to_string(m + 1);
        low = std::min(low, d.votes[m].confidence);
        high = std::max(high, d.votes[m].confidence);
      }
      const std::string from = format_fixed(100 * low, 0), to = format_fixed(100 * high, 0);
      h_.open("li").element("b", v.answer).text(" " + (from == to ? from : from + " to " + to) + "\u00a0%");
      h_.element("span", (who.find(',') == std::string::npos ? "member " : "members ") + who, {{"class", "path"}});
      h_.close();
    }
    h_.close();
  }

  void disputes() {
    if (page_.disputes.empty()) return;
    begin("disputes", "Where members disagree");
    h_.element("p",
               "The pictures of the test part over which members differ most, by the mutual information of answer and member. Under each "
               "the true class and what the ensemble says, then the answers of the members and how sure they are of them. Often the "
               "label is wrong, or the picture shows something else as well.",
               {{"class", "summary"}});
    if (!page_.disputes_note.empty()) h_.element("p", page_.disputes_note, {{"class", "none"}});
    h_.open("ul", {{"class", "pictures disputes"}, {"aria-label", "Most disputed"}});
    for (const EnsemblePageDispute& d : page_.disputes) {
      h_.open("li");
      const bool right = d.truth == d.answer;
      if (!d.picture.bytes.empty()) {
        const bool small = std::max(d.picture.width, d.picture.height) <= 64;
        h_.single("img", {{"src", "data:" + d.picture.type + ";base64," + base64(d.picture.bytes)},
                          {"alt", d.truth + (right ? ", recognized" : ", taken for " + d.answer)},
                          {"width", std::to_string(d.picture.width)},
                          {"height", std::to_string(d.picture.height)},
                          {"class", small ? "small" : "photo"}});
      }
      h_.open("span").element("b", d.truth);
      if (!right) h_.text(" \u2192 ").element("b", d.answer);
      h_.text(" " + format_fixed(100 * d.confidence, 0) + "\u00a0%").close();
      votes(d);
      h_.element("span", d.picture.name + (d.picture.name.empty() ? "" : ", ") + format_fixed(d.information, 2) + " nats", {{"class", "path"}});
      h_.close();
    }
    h_.close();
    end();
  }

  const EnsemblePage& page_;
  Html h_;
  PageEntries entries_;
};

}  // namespace

std::string ensemble_page(const EnsemblePage& page) {
  check(!page.rows.empty(), "ensemble_page", "at least one row is required, got none");
  return Page(page).make();
}

}  // namespace ballast

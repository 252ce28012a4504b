#include <ballast/report/data_page.h>

#include <algorithm>

#include <ballast/report/html.h>
#include <ballast/report/page_parts.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

class Page {
 public:
  explicit Page(const DataPage& page) : page_(page) {}

  std::string make() {
    findings();
    classes();
    if (!page_.bad.empty()) bad();
    groups("same", "The same picture", "Files whose pixels are equal.", page_.same, page_.same_total);
    groups("alike", "Pictures that look alike",
           "The same photo at another size or quality, most likely: look at them before you trust a test that holds one of them.", page_.alike,
           page_.alike_total);
    pictures();
    facts();
    return framed_page({.kind = "ballast data check",
                        .tab = page_.name + " - ballast data check",
                        .title = page_.name,
                        .lead = page_.lead,
                        .entries = entries_},
                       h_);
  }

 private:
  void begin(const std::string& id, const std::string& title) {
    entries_.emplace_back(id, title);
    h_.open("section", {{"id", id}, {"aria-labelledby", id + "-h"}}).element("h2", title, {{"id", id + "-h"}});
  }
  void end() { h_.close(); }
  void open_scroll(const std::string& label) {
    h_.open("div", {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", label}});
  }

  void findings() {
    begin("findings", "Findings");
    h_.open("ul", {{"class", "alerts"}});
    for (const DataFinding& f : page_.findings) {
      const bool problem = f.level == "error", warning = f.level == "warning";
      h_.open("li", {{"class", std::string("alert ") + (problem ? "problem" : warning ? "warning" : "note")}});
      h_.open("h3").element("span", problem ? "\u2716 Problem" : warning ? "\u25b2 Warning" : "\u25cf Note", {{"class", "tag"}});
      h_.text(" " + f.title).close().element("p", f.text);
      if (!f.remedy.empty()) h_.element("p", f.remedy, {{"class", "soft"}});
      h_.close();
    }
    h_.close();
    if (page_.findings.empty()) h_.element("p", "Nothing to mend was found.", {{"class", "none"}});
    end();
  }

  void classes() {
    begin("classes", "Classes");
    open_scroll("Pictures of each class");
    h_.open("table", {{"class", "sortable"}}).open("thead").open("tr").element("th", "class", {{"scope", "col"}});
    for (const std::string& part : page_.parts) h_.element("th", part, {{"scope", "col"}, {"class", "n"}});
    h_.element("th", "of all", {{"scope", "col"}, {"class", "n"}}).close().close().open("tbody");
    std::vector<int64_t> sums(page_.parts.size());
    int64_t all = 0;
    for (const DataClass& c : page_.classes) {
      for (size_t p = 0; p < c.counts.size(); ++p) {
        sums[p] += c.counts[p];
        all += c.counts[p];
      }
    }
    const auto row = [&](const std::string& name, const std::vector<int64_t>& counts) {
      int64_t sum = 0;
      h_.open("tr").element("th", name, {{"scope", "row"}});
      for (const int64_t n : counts) {
        sum += n;
        h_.element("td", format_count(n), {{"class", "n"}, {"data-v", std::to_string(n)}});
      }
      h_.element("td", share_text(sum, all), {{"class", "n"}}).close();
    };
    for (const DataClass& c : page_.classes) row(c.name, c.counts);
    h_.close();
    h_.open("tfoot");
    row("all", sums);
    h_.close().close().close();
    if (page_.classes.size() > 1 && page_.classes.size() <= 60) {
      std::vector<BarRow> rows;
      for (const DataClass& c : page_.classes) {
        if (!c.counts.empty()) rows.push_back({c.name, static_cast<double>(c.counts[0]), format_count(c.counts[0])});
      }
      h_.add(bar_chart("Pictures of each class, " + (page_.parts.empty() ? std::string("all") : page_.parts[0]), rows));
    }
    end();
  }

  void bad() {
    begin("bad", "Files that cannot be used");
    open_scroll("Files that cannot be used");
    h_.open("table", {{"class", "sortable"}}).open("thead").open("tr");
    for (const char* title : {"file", "part", "reason", "detail"}) h_.element("th", title, {{"scope", "col"}});
    h_.element("th", "bytes", {{"scope", "col"}, {"class", "n"}}).close().close().open("tbody");
    for (const DataBadFile& b : page_.bad) {
      h_.open("tr").element("th", b.path, {{"scope", "row"}, {"class", "mono"}}).element("td", b.part);
      h_.element("td", b.reason).element("td", b.detail);
      h_.element("td", format_count(b.bytes), {{"class", "n"}, {"data-v", std::to_string(b.bytes)}}).close();
    }
    h_.close().close().close();
    more(static_cast<int64_t>(page_.bad.size()), page_.bad_total, "files");
    end();
  }

  void more(int64_t shown, int64_t total, const std::string& what) {
    if (total > shown) h_.element("p", "and " + format_count(total - shown) + " more " + what + ", in the JSON report", {{"class", "soft"}});
  }

  void gallery(const std::vector<PagePicture>& pictures, const std::string& label, bool batch) {
    h_.open("ul", {{"class", batch ? "pictures batch" : "pictures"}, {"aria-label", label}});
    for (const PagePicture& p : pictures) {
      h_.open("li");
      h_.single("img", {{"src", "data:" + p.type + ";base64," + base64(p.bytes)},
                        {"alt", p.name},
                        {"width", std::to_string(p.width)},
                        {"height", std::to_string(p.height)},
                        {"class", std::max(p.width, p.height) <= 64 ? "small" : "photo"}});
      if (!p.note.empty()) h_.element("span", p.note);
      if (!batch) h_.element("span", p.name, {{"class", "path"}});
      h_.close();
    }
    h_.close();
  }

  void groups(const std::string& id, const std::string& title, const std::string& about, const std::vector<DataGroup>& list, int64_t total) {
    if (list.empty()) return;
    begin(id, title);
    h_.element("p", format_count(total) + (total == 1 ? " group. " : " groups. ") + about, {{"class", "summary"}});
    for (const DataGroup& g : list) {
      h_.element("h3", (g.level == "error" ? "\u2716 " : g.level == "warning" ? "\u25b2 " : "") + g.title);
      gallery(g.pictures, g.title, false);
    }
    more(static_cast<int64_t>(list.size()), total, "groups");
    end();
  }

  void pictures() {
    const bool any = std::any_of(page_.classes.begin(), page_.classes.end(), [](const DataClass& c) { return !c.pictures.empty(); });
    if (!any) return;
    begin("pictures", "Pictures of each class");
    for (const DataClass& c : page_.classes) {
      if (c.pictures.empty()) continue;
      h_.element("h3", c.name);
      gallery(c.pictures, c.name, true);
    }
    end();
  }

  void facts() {
    begin("facts", "Sizes and formats");
    h_.open("table", {{"class", "keys"}}).open("tbody");
    for (const auto& [name, value] : page_.facts) h_.open("tr").element("th", name, {{"scope", "row"}}).element("td", value).close();
    h_.close().close();
    for (const auto& [title, bins] : page_.histograms) {
      std::vector<BarRow> rows;
      for (const auto& [name, n] : bins) rows.push_back({name, static_cast<double>(n), format_count(n)});
      h_.add(bar_chart(title, rows));
    }
    end();
  }

  const DataPage& page_;
  Html h_;
  PageEntries entries_;
};

}  // namespace

std::string data_page(const DataPage& page) { return Page(page).make(); }

}  // namespace ballast

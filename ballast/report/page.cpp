#include "page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include <ballast/base/check.h>
#include <ballast/base/version.h>
#include <ballast/report/alerts.h>
#include <ballast/report/html.h>
#include <ballast/report/page_assets.h>
#include <ballast/report/page_parts.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

std::string script_hash() {
  std::string bytes;
  auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (size_t i = 0; i + 1 < kPageScriptSha256.size(); i += 2) {
    bytes += static_cast<char>(digit(kPageScriptSha256[i]) * 16 + digit(kPageScriptSha256[i + 1]));
  }
  return base64(bytes);
}

std::string title_of(const std::vector<RunPage>& runs, const PageOptions& options) {
  if (runs.size() > 1) {
    return std::to_string(runs.size()) + " runs side by side";
  }
  return run_title(runs[0].record, options.no_times);
}

void contents(Html& h, const std::vector<std::pair<std::string, std::string>>& entries) {
  h.open("nav", {{"class", "toc"}, {"aria-label", "Contents"}}).open("ul");
  for (const auto& [id, title] : entries) {
    h.open("li").element("a", title, {{"href", "#" + id}}).close();
  }
  h.close().close();
}

std::string make_page(const std::vector<RunPage>& runs, const PageOptions& options) {
  std::string title = title_of(runs, options);
  Html body;
  std::vector<std::pair<std::string, std::string>> entries;
  if (runs.size() > 1) {
    compare_runs(body, runs, options, entries);
    for (size_t i = 0; i < runs.size(); ++i) {
      std::string prefix = "r" + std::to_string(i + 1) + "-";
      std::string name = run_label(runs, i, options.no_times);
      entries.emplace_back(prefix + "run", name);
      body.open("section", {{"id", prefix + "run"}, {"aria-labelledby", prefix + "run-h"}});
      body.element("h2", name, {{"id", prefix + "run-h"}});
      std::vector<std::pair<std::string, std::string>> inner;
      Html parts;
      run_sections(parts, runs[i], options, prefix, 3, inner);
      body.add(parts).close();
    }
  } else {
    run_sections(body, runs[0], options, "", 2, entries);
  }

  Html h;
  h.open("html", {{"lang", "en"}}).open("head");
  h.single("meta", {{"charset", "utf-8"}});
  h.single("meta",
           {{"http-equiv", "Content-Security-Policy"},
            {"content",
             "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" +
                 script_hash() + "'"}});
  h.single("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}});
  h.single("meta", {{"name", "color-scheme"}, {"content", "light dark"}});
  h.single("link", {{"rel", "icon"}, {"href", "data:,"}});
  h.element("title", title + " - ballast report");
  h.style(std::string(kUplotCss) + "\n" + std::string(kPageCss));
  h.close();
  h.open("body").element("a", "To the contents", {{"class", "skip"}, {"href", "#main"}});
  h.open("div", {{"class", "frame"}});
  h.open("header", {{"class", "top"}});
  h.element("p", "ballast training report", {{"class", "over"}}).element("h1", title);
  h.element(
      "p",
      runs.size() > 1 ? comparison_lead(runs, options) : run_lead(runs[0].record, options.no_times),
      {{"class", "lead"}});
  h.close();
  h.open("div", {{"class", "body"}});
  contents(h, entries);
  h.open("main", {{"id", "main"}}).add(body).close();
  h.close();
  h.open("footer");
  h.element("p", "Written by ballast " + std::string(version()) +
                     ". The charts' zoom is uPlot 1.6.32 by Leon Sorokin, MIT licence. This file "
                     "needs no network.");
  h.close().close();
  h.script(kPageScript);
  h.close().close();
  return "<!doctype html>\n" + h.str() + "\n";
}

}  // namespace

std::string report_page(const std::vector<RunPage>& runs, const PageOptions& options) {
  check(!runs.empty(), "report", "at least one run is required, got none");
  std::string page = make_page(runs, options);
  if (static_cast<int64_t>(page.size()) <= options.max_bytes) {
    return page;
  }
  // Pictures are what is large: leave some out, the last first, until it fits.
  std::vector<RunPage> fewer = runs;
  while (static_cast<int64_t>(page.size()) > options.max_bytes) {
    bool any = false;
    for (RunPage& run : fewer) {
      for (auto* list : {&run.wrongest, &run.uncertain, &run.first_batch}) {
        if (!list->empty()) {
          list->resize(list->size() * 3 / 4);
          any = true;
        }
      }
    }
    if (!any) {
      break;
    }
    page = make_page(fewer, options);
  }
  return page;
}

}  // namespace ballast

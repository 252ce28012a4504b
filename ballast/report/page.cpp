#include "page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include <ballast/base/check.h>
#include <ballast/report/alerts.h>
#include <ballast/report/html.h>
#include <ballast/report/page_parts.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

std::string title_of(const std::vector<RunPage>& runs, const PageOptions& options) {
  if (runs.size() > 1) {
    return std::to_string(runs.size()) + " runs side by side";
  }
  return run_title(runs[0].record, options.no_times);
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

  return framed_page({.kind = "ballast training report",
                      .tab = title + " - ballast report",
                      .title = title,
                      .lead = runs.size() > 1 ? comparison_lead(runs, options)
                                              : run_lead(runs[0].record, options.no_times),
                      .entries = entries},
                     body);
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

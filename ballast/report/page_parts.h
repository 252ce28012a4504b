#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ballast/report/html.h>
#include <ballast/report/page.h>

namespace ballast {

// The sections of report_page(); private to the room.

using PageEntries = std::vector<std::pair<std::string, std::string>>;  // anchor, title

std::string base64(std::string_view bytes);

/// What stands around a page's sections: head, title, contents, footer.
struct PageFrame {
  std::string kind;   ///< "ballast training report"
  std::string tab;    ///< the title of the browser's tab
  std::string title;
  std::string lead;   ///< a sentence under the title
  PageEntries entries;
};
/// A whole page that needs no network: style, script and the policy that allows nothing else are inside.
std::string framed_page(const PageFrame& frame, const Html& body);

/// "runs-3" or, without times, "fashion-mnist, resnet8_wide": folders of equal runs have different names.
std::string run_title(const RecordedRun& record, bool no_times);
/// A name for run i among several: its folder's, made unique.
std::string run_label(const std::vector<RunPage>& runs, size_t i, bool no_times);
/// One sentence under the title.
std::string run_lead(const RecordedRun& record, bool no_times);
std::string comparison_lead(const std::vector<RunPage>& runs, const PageOptions& options);

/// All sections of one run. Ids begin with `prefix`; headings with h<level>.
void run_sections(Html& h, const RunPage& run, const PageOptions& options,
                  const std::string& prefix, int level, PageEntries& entries);
/// Sections that show several runs side by side.
void compare_runs(Html& h, const std::vector<RunPage>& runs, const PageOptions& options,
                  PageEntries& entries);

/// Training rows over epochs (over steps, where the length of an epoch is not known).
double epoch_of_step(const RecordedRun& record, int64_t step);
bool steps_are_epochs(const RecordedRun& record);
std::vector<std::pair<double, double>> check_points(const RecordedRun& record,
                                                    const std::string& split,
                                                    const std::string& metric);

/// "93.1 %"
std::string percent_text(double share, int digits = 1);
/// "12.0 %", or "-" of nothing.
std::string share_text(int64_t part, int64_t whole);
/// "95 %: 91.1 to 93.4 %", or nothing: Wilson's interval of a counted share, else 1.96 standard errors.
std::string interval_text(const CheckRow& check, const std::string& metric);
/// Seconds of all rows of timing.jsonl; without one, between the first event and the last; NaN if unknown.
double total_seconds(const RecordedRun& record);

/// "93.1 %", or "0.2134" for what is not a share.
std::string metric_text(const std::string& metric, double value);
bool metric_is_share(const std::string& metric);

/// Keys whose value depends on when and where a run was made.
bool depends_on_place(std::string_view key);

}  // namespace ballast

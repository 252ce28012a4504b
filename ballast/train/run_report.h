#pragma once

// No torch in this header.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ballast/report/page.h>

namespace ballast {

struct DataSet;

struct WriteReportOptions {
  /// Where to write; empty: report.html in the run's folder (of several runs: in the current one).
  std::filesystem::path out = {};
  /// Leave out all that depends on the clock: equal runs then give equal bytes.
  bool no_times = false;
  /// Look for the pictures of the samples; without, only their names stand in the page.
  bool pictures = true;
};

/// Writes the report of a run, or of several side by side, atomically; returns the path of the page.
///
/// The pictures are decoded again from the data that config.toml names: the most wrong and the least certain samples of
/// predictions/ (test, else val), and the first augmented batch, drawn once more from its keys. If the data is gone or has
/// changed, the page says so instead.
///
/// Errors   DataError if a run is not a folder; StorageError if the page cannot be written; std::invalid_argument without
///          a run.
std::filesystem::path write_report(const std::vector<std::filesystem::path>& runs,
                                   const WriteReportOptions& options = {});
std::filesystem::path write_report(const std::filesystem::path& run,
                                   const WriteReportOptions& options = {});
/// While a run goes on and its data is open.
std::filesystem::path write_report(const std::filesystem::path& run, const DataSet& data,
                                   const WriteReportOptions& options = {});

/// The record and the pictures of a run. `data` may be null: it is opened as config.toml says.
RunPage gather_run_page(const std::filesystem::path& run, const DataSet* data,
                        bool pictures = true);

}  // namespace ballast

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/report/run_record.h>

namespace ballast {

/// A picture for the page, encoded.
struct PagePicture {
  std::string bytes;  ///< a whole JPEG or PNG file
  std::string type = "image/jpeg";
  int64_t width = 0, height = 0;  ///< in pixels
  std::string name;               ///< path or "#index"
  int64_t target = -1;            ///< label; -1: unknown
  int64_t pred = -1;              ///< -1: not predicted (a training picture)
  double confidence = kNone;
  std::string note;  ///< e.g. the key an augmentation was drawn from
};

/// One run of a page: the record and the pictures that go with it.
struct RunPage {
  RecordedRun record;
  std::string predictions_split = {};         ///< the split the pictures come from: "test" or "val"
  std::vector<PagePicture> wrongest = {};     ///< most confident mistakes, worst first
  std::vector<PagePicture> uncertain = {};    ///< least certain, least first
  std::vector<PagePicture> first_batch = {};  ///< the first augmented training batch
  std::string pictures_note = {};             ///< why there are none; empty if there are
};

struct PageOptions {
  /// Leaves out everything that depends on the clock: equal runs then give equal bytes.
  bool no_times = false;
  /// Upper bound of the page's size in bytes; pictures are left out from the end to hold it.
  int64_t max_bytes = 1'500'000;
};

/// The report of one run, or of several side by side: one HTML file that needs no network and no script (script adds
/// zoom and sorting). Throws std::invalid_argument without a run.
std::string report_page(const std::vector<RunPage>& runs, const PageOptions& options);

}  // namespace ballast

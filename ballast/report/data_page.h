#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/report/page.h>

namespace ballast {

/// A sentence at the head of the page.
struct DataFinding {
  std::string level;  ///< error, warning, info
  std::string title, text, remedy = {};
};

struct DataClass {
  std::string name;
  std::vector<int64_t> counts;  ///< of each part
  std::vector<PagePicture> pictures = {};  ///< some of them
};

/// Pictures that are the same, or look it.
struct DataGroup {
  std::string title;  ///< "in train and test, under 2 labels"
  std::string level;  ///< error, warning, info
  std::vector<PagePicture> pictures;
};

struct DataBadFile {
  std::string path, part, reason, detail;
  int64_t bytes = 0;
};

/// What `data check` found, ready to be shown. Numbers and encoded pictures are handed in.
struct DataPage {
  std::string name;  ///< of the data: "photos"
  std::string lead;
  std::vector<DataFinding> findings = {};
  std::vector<std::string> parts = {};      ///< "train", "val", "test"
  std::vector<DataClass> classes = {};
  std::vector<std::pair<std::string, std::string>> facts = {};  ///< "height", "400 to 936, median 533"
  /// Shares of pictures by shorter side, aspect ratio, ...: a title and counts by range.
  std::vector<std::pair<std::string, std::vector<std::pair<std::string, int64_t>>>> histograms = {};
  std::vector<DataGroup> same = {}, alike = {};
  int64_t same_total = 0, alike_total = 0;  ///< groups in all; the lists above hold the first
  std::vector<DataBadFile> bad = {};
  int64_t bad_total = 0;
};

/// One HTML file without network: findings, pictures of each class, sizes, duplicates side by side, files that cannot be used.
std::string data_page(const DataPage& page);

}  // namespace ballast

#include "ensemble_disputes.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <span>

#include <ballast/base/check.h>
#include <ballast/base/config_file.h>
#include <ballast/data/source.h>
#include <ballast/ensemble/diversity.h>
#include <ballast/train/page_picture.h>
#include <ballast/train/run_options.h>

#include "run_config.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMost = 24;

/// The run folder of the first net that has one; empty: members are files, or models alone.
fs::path run_of(const EnsembleInput& input) {
  std::vector<fs::path> candidates;
  for (const std::vector<std::string>& nets : input.nets) {
    for (const std::string& net : nets)
      candidates.push_back(fs::path(net).is_absolute() ? fs::path(net) : input.folder / net);
  }
  for (const MemberTable& t : input.test.tables)
    candidates.push_back(fs::path(t.source).parent_path().parent_path());
  std::error_code error;
  const auto at = std::ranges::find_if(
      candidates, [&](const fs::path& run) { return fs::exists(run / "config.toml", error); });
  return at == candidates.end() ? fs::path() : *at;
}

/// The number of a picture in its data; -1: the row's id is none.
int64_t number_of(const MemberTable& table, size_t row) {
  if (row >= table.id.size()) return -1;
  const std::string& text = table.id[row];
  int64_t id = -1;
  const char* end = text.data() + text.size();
  return std::from_chars(text.data(), end, id).ptr == end ? id : -1;
}

/// The data that the rows are of.
std::shared_ptr<const Source> source_of(const EnsembleInput& input, std::span<const size_t> rows) {
  const fs::path run = run_of(input);
  check<DataError>(!run.empty(), "disputes",
                   "members are files of scores, which say nothing of pictures");
  RunOptions options;
  OptionTable table = option_table(options);
  const std::string config = (run / "config.toml").string();
  apply_toml(table, read_config_file(config), config);
  std::shared_ptr<const Source> source = open_source(data_options(options));
  for (const size_t i : rows) {
    const int64_t id = number_of(input.test.tables[0], i);
    check<DataError>(id >= 0 && id < source->size() && source->label(id) == input.test.label[i],
                     "disputes", "the data is not what the members were trained on");
  }
  return source;
}

}  // namespace

void add_disputes(EnsemblePage& page, const EnsembleInput& input, const Combined& combined,
                  int threads) {
  const auto views = input.test.views();
  std::vector<std::vector<int32_t>> answers;
  answers.reserve(views.size());
  for (const Predictions& v : views) answers.push_back(top_classes(v));
  const std::vector<double> information = row_information(views, threads);
  std::vector<size_t> rows;
  for (size_t i = 0; i < information.size(); ++i) {
    const bool differ =
        std::ranges::any_of(answers, [&](const auto& a) { return a[i] != answers[0][i]; });
    if (differ) rows.push_back(i);
  }
  std::ranges::stable_sort(rows,
                           [&](size_t a, size_t b) { return information[a] > information[b]; });
  rows.resize(std::min(rows.size(), kMost));
  if (rows.empty()) return;
  std::shared_ptr<const Source> source;
  try {
    source = source_of(input, rows);
  } catch (const std::exception& e) {
    std::string cause = e.what();
    if (cause.starts_with("[disputes] ")) cause.erase(0, 11);
    page.disputes_note = "The pictures cannot be shown: " + cause + ".";
  }
  const std::vector<std::string> classes =
      source && input.classes.empty() ? source->classes() : input.classes;
  const auto class_name = [&](int32_t c) {
    const auto at = static_cast<size_t>(c);
    return at < classes.size() ? classes[at] : std::to_string(c);
  };
  std::vector<std::byte> buffer;
  for (const size_t i : rows) {
    const auto row = static_cast<int64_t>(i);
    EnsemblePageDispute d{.picture = {},
                          .truth = class_name(input.test.label[i]),
                          .answer = class_name(combined.label[i])};
    const auto k = static_cast<size_t>(combined.k);
    d.confidence = combined.probability[i * k + static_cast<size_t>(combined.label[i])];
    d.information = information[i];
    for (size_t m = 0; m < views.size(); ++m) {
      const auto p = probabilities({views[m].row(row), 1, views[m].k, views[m].is_logit});
      const int32_t own = answers[m][i];
      d.votes.push_back({class_name(own), p[static_cast<size_t>(own)]});
    }
    const MemberTable& first = input.test.tables[0];
    d.picture.name = i < first.id.size() ? "#" + first.id[i] : "row " + std::to_string(i);
    if (source) {
      auto picture = stored_picture(*source, number_of(first, i), source->channels(), buffer);
      if (picture) d.picture = std::move(*picture);
    }
    page.disputes.push_back(std::move(d));
  }
}

}  // namespace ballast::cli

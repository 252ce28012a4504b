#include "find_run.h"

#include <algorithm>

#include <ballast/base/check.h>

namespace ballast::cli {
namespace {

namespace stdfs = std::filesystem;

bool is_run(const stdfs::path& folder) {
  std::error_code ignored;
  return stdfs::is_regular_file(folder / "config.toml", ignored);
}

// events.jsonl grows with everything that a run does.
stdfs::file_time_type written(const stdfs::path& folder) {
  std::error_code error;
  const stdfs::file_time_type time = stdfs::last_write_time(folder / "events.jsonl", error);
  return error ? stdfs::file_time_type::min() : time;
}

}  // namespace

std::vector<stdfs::path> runs_in(const stdfs::path& folder) {
  std::vector<std::pair<stdfs::file_time_type, stdfs::path>> found;
  std::error_code error;
  for (stdfs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (is_run(it->path())) {
      found.emplace_back(written(it->path()), it->path());
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::vector<stdfs::path> out;
  for (auto& [time, path] : found) {
    out.push_back(std::move(path));
  }
  return out;
}

stdfs::path find_run(const std::string& text) {
  if (is_run(text)) {
    return text;
  }
  const stdfs::path named = stdfs::path("runs") / text;
  if (is_run(named)) {
    return named;
  }
  if (text == "last") {
    const std::vector<stdfs::path> runs = runs_in("runs");
    check<DataError>(!runs.empty(), "run", "last needs a run in runs/, there is none");
    return runs.front();
  }
  fail<DataError>("run", text, " must be a run: its folder, or its name in runs/; there is no config.toml in it");
}

}  // namespace ballast::cli

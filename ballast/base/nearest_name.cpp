#include <ballast/base/nearest_name.h>

#include <algorithm>
#include <limits>

namespace ballast {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) {
    last[j] = j;
  }
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before = last;
    last.swap(row);
  }
  return last[b.size()];
}

namespace {
std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}
template <class Name>
std::string nearest(std::string_view name, std::span<const Name> candidates) {
  const size_t limit = std::max<size_t>(2, name.size() / 3);
  size_t best = std::numeric_limits<size_t>::max();
  std::string_view found;
  const std::string small = lower(name);
  for (const Name& candidate : candidates) {
    const std::string_view c = candidate;
    const size_t gap = c.size() > name.size() ? c.size() - name.size() : name.size() - c.size();
    if (gap > limit) {
      continue;
    }
    const size_t distance = edit_distance(small, lower(c));
    if (distance <= limit && distance < std::max(name.size(), c.size()) && distance < best) {
      best = distance;
      found = c;
    }
  }
  return std::string(found);
}
template <class Name>
std::string suggestion(std::string_view name, std::span<const Name> candidates) {
  const std::string found = nearest(name, candidates);
  return found.empty() ? "" : "; did you mean \"" + found + "\"?";
}
}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  return nearest(name, candidates);
}
std::string nearest_name(std::string_view name, std::span<const std::string_view> candidates) {
  return nearest(name, candidates);
}
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates) {
  return suggestion(name, candidates);
}
std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates) {
  return suggestion(name, candidates);
}

}  // namespace ballast

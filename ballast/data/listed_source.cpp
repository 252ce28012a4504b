#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/sha256.h>
#include <ballast/base/thread_pool.h>
#include <ballast/data/listed_source.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <map>
#include <unordered_map>

namespace ballast {

std::vector<int64_t> identical_by_content(const Source& source,
                                          const std::function<int64_t(int64_t)>& bytes) {
  std::vector<int64_t> first(static_cast<size_t>(source.size()));
  std::unordered_map<int64_t, std::vector<int64_t>> by_size;
  for (int64_t i = 0; i < source.size(); ++i) {
    first[static_cast<size_t>(i)] = i;
    by_size[bytes(i)].push_back(i);
  }
  std::vector<int64_t> candidates;
  for (const auto& [n, members] : by_size) {
    if (n > 0 && members.size() > 1) {
      candidates.insert(candidates.end(), members.begin(), members.end());
    }
  }
  std::sort(candidates.begin(), candidates.end());
  std::vector<Sha256::Digest> digests(candidates.size());
  std::vector<char> readable(candidates.size());
  ThreadPool pool(usable_cores());
  std::vector<std::vector<std::byte>> buffers(static_cast<size_t>(pool.size()));
  pool.run(static_cast<int64_t>(candidates.size()), [&](int64_t k, int thread) {
    const auto at = static_cast<size_t>(k);
    try {
      digests[at] =
          sha256(source.read(candidates[at], buffers[static_cast<size_t>(thread)]).file);
      readable[at] = 1;
    } catch (const DataError&) {  // a bad file is like no other; the loader names it
    }
  });
  std::map<Sha256::Digest, int64_t> seen;
  for (size_t k = 0; k < candidates.size(); ++k) {
    if (readable[k] != 0) {
      first[static_cast<size_t>(candidates[k])] =
          seen.emplace(digests[k], candidates[k]).first->second;
    }
  }
  return first;
}

std::string ListedSource::digest() const {
  Sha256 hash;
  for (int64_t i = 0; i < size(); ++i) {
    hash.update(name(i) + '\n' + std::to_string(bytes(i)) + '\n' + std::to_string(label(i)) + '\n');
    if (weight(i) != 1) hash.update("weight " + std::to_string(std::bit_cast<uint64_t>(weight(i))) + '\n');
  }
  for (const std::vector<int32_t>& set : label_sets_) {
    std::string text = "set";
    for (const int32_t c : set) text += ';' + classes_[static_cast<size_t>(c)];
    hash.update(text + '\n');
  }
  return hex(hash.finish());
}

std::vector<int64_t> ListedSource::identical() const {
  std::vector<int64_t> first = identical_by_content(*this, [this](int64_t i) { return bytes(i); });
  std::unordered_map<std::string, int64_t> groups;
  // Joins sets of pictures: the lowest member stands for its set.
  const auto root = [&first](int64_t i) {
    while (first[static_cast<size_t>(i)] != i) {
      i = first[static_cast<size_t>(i)];
    }
    return i;
  };
  for (int64_t i = 0; i < size(); ++i) {
    if (picture(i).group.empty()) {
      continue;
    }
    const int64_t a = root(groups.emplace(picture(i).group, i).first->second);
    const int64_t b = root(i);
    first[static_cast<size_t>(std::max(a, b))] = std::min(a, b);
  }
  for (int64_t i = 0; i < size(); ++i) {
    first[static_cast<size_t>(i)] = root(i);
  }
  return first;
}

void ListedSource::sort_by_role() {
  std::stable_sort(pictures_.begin(), pictures_.end(),
                   [](const ListedPicture& a, const ListedPicture& b) {
                     return a.role.value_or(Role::train) < b.role.value_or(Role::train);
                   });
}

void order_label_names(std::vector<std::string>& names) {
  const auto is_number = [](const std::string& text) {
    return !text.empty() && text.size() <= 9 && (text.size() == 1 || text[0] != '0') &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (std::all_of(names.begin(), names.end(), is_number)) {
    std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
      return std::stol(a) < std::stol(b);
    });
  }
}

std::vector<std::string> number_labels(
    std::vector<ListedPicture>& pictures,
    const std::function<const std::string&(const ListedPicture&)>& label_of) {
  std::vector<std::string> names;
  for (const ListedPicture& picture : pictures) {
    names.push_back(label_of(picture));
  }
  order_label_names(names);
  std::map<std::string, int32_t> places;
  for (size_t c = 0; c < names.size(); ++c) {
    places[names[c]] = static_cast<int32_t>(c);
  }
  for (ListedPicture& picture : pictures) {
    picture.label = places.at(label_of(picture));
  }
  return names;
}

bool is_picture_name(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) {
    return false;
  }
  std::string suffix(name.substr(dot + 1));
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return suffix == "jpg" || suffix == "jpeg" || suffix == "png" || suffix == "webp";
}

}  // namespace ballast

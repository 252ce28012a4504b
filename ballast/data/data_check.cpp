#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/sha256.h>
#include <ballast/base/thread_pool.h>
#include <ballast/data/data_check.h>
#include <ballast/data/near_duplicates.h>
#include <ballast/image/decode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace ballast {
namespace {

/// What is learned from one picture.
struct Look {
  ImageInfo info;
  bool readable = false;
  BadReason reason = BadReason::corrupt;
  std::string detail;
  int64_t bytes = 0;
  Sha256::Digest of_bytes{}, of_pixels{};
  PictureLook look;
};

struct Sums {
  double pixels = 0, sum[3] = {}, squares[3] = {};
};

/// Digest of size and pixels; adds to `sums` as `channels` channels where that is asked for.
Sha256::Digest digest_pixels(ImageView image) {
  Sha256 hash;
  const int32_t header[3] = {image.h, image.w, image.c};
  hash.update(std::as_bytes(std::span(header)));
  for (int32_t y = 0; y < image.h; ++y) {
    hash.update({image.row(y), static_cast<size_t>(int64_t{image.w} * image.c)});
  }
  return hash.finish();
}

void add_pixels(ImageView image, int32_t channels, Sums& sums) {
  uint64_t sum[3] = {};
  uint64_t squares[3] = {};
  for (int32_t y = 0; y < image.h; ++y) {
    const uint8_t* row = image.row_u8(y);
    for (int32_t x = 0; x < image.w; ++x) {
      for (int32_t c = 0; c < channels; ++c) {
        const uint64_t v = row[x * image.c + std::min(c, image.c - 1)];
        sum[c] += v;
        squares[c] += v * v;
      }
    }
  }
  sums.pixels += static_cast<double>(int64_t{image.h} * image.w);
  for (int c = 0; c < channels; ++c) {
    // Integers up to 2^53 add exactly, so the order of threads plays no part.
    sums.sum[c] += static_cast<double>(sum[c]);
    sums.squares[c] += static_cast<double>(squares[c]);
  }
}

DataCheckReport::Spread spread(std::vector<int32_t> values) {
  if (values.empty()) {
    return {};
  }
  std::sort(values.begin(), values.end());
  return {values.front(), values[values.size() / 2], values.back()};
}

/// Counts by range; a range goes up to its number, which it holds.
template <class Value>
std::vector<std::pair<std::string, int64_t>> bins(const std::vector<std::pair<double, std::string>>& ranges, size_t n, Value value) {
  std::vector<std::pair<std::string, int64_t>> counts;
  for (const auto& [to, name] : ranges) {
    counts.emplace_back(name, 0);
  }
  for (size_t i = 0; i < n; ++i) {
    size_t k = 0;
    while (k + 1 < ranges.size() && value(i) > ranges[k].first) {
      ++k;
    }
    ++counts[k].second;
  }
  return counts;
}

struct Member {
  uint64_t id;
  Role role;
};

/// Groups of pictures with an equal digest, joined over bytes and pixels.
std::vector<std::vector<size_t>> equal_groups(const std::vector<Look>& looks) {
  std::vector<size_t> first(looks.size());
  std::map<Sha256::Digest, size_t> by_bytes;
  std::map<Sha256::Digest, size_t> by_pixels;
  std::map<size_t, std::vector<size_t>> groups;
  for (size_t i = 0; i < looks.size(); ++i) {
    // Equal bytes decode to equal pixels, so pixels alone decide; bytes join those that nothing can
    // decode.
    first[i] = looks[i].readable    ? by_pixels.emplace(looks[i].of_pixels, i).first->second
               : looks[i].bytes > 0 ? by_bytes.emplace(looks[i].of_bytes, i).first->second
                                    : i;
    groups[first[i]].push_back(i);
  }
  std::vector<std::vector<size_t>> result;
  for (auto& [key, members] : groups) {
    if (members.size() > 1) {
      result.push_back(std::move(members));
    }
  }
  return result;
}

/// Groups of pictures that look the same, but are not; of equal ones the first stands for all.
std::vector<std::vector<size_t>> near_groups(const std::vector<Look>& looks) {
  std::map<Sha256::Digest, size_t> seen;
  std::vector<size_t> places;
  std::vector<PictureLook> compared;
  for (size_t i = 0; i < looks.size(); ++i) {
    if (looks[i].readable && seen.emplace(looks[i].of_pixels, i).second) {
      places.push_back(i);
      compared.push_back(looks[i].look);
    }
  }
  std::vector<size_t> root(places.size());
  std::iota(root.begin(), root.end(), size_t{0});
  const auto find = [&root](size_t i) {
    while (root[i] != i) {
      i = root[i];
    }
    return i;
  };
  for (const auto& [i, j] : near_duplicates(compared)) {
    const size_t a = find(static_cast<size_t>(i));
    const size_t b = find(static_cast<size_t>(j));
    root[std::max(a, b)] = std::min(a, b);
  }
  std::map<size_t, std::vector<size_t>> groups;
  for (size_t i = 0; i < root.size(); ++i) {
    groups[find(i)].push_back(places[i]);
  }
  std::vector<std::vector<size_t>> result;
  for (auto& [key, group] : groups) {
    if (group.size() > 1) {
      result.push_back(std::move(group));
    }
  }
  return result;
}

DataCheckReport::Duplicates duplicates_of(const Source& source, const std::vector<Member>& members,
                                          const std::vector<size_t>& group) {
  DataCheckReport::Duplicates same;
  const auto label = [&](size_t i) { return source.label(static_cast<int64_t>(members[i].id)); };
  for (const size_t i : group) {
    same.ids.push_back(members[i].id);
    same.roles.push_back(members[i].role);
    same.names.push_back(source.name(static_cast<int64_t>(members[i].id)));
    same.leak = same.leak || members[i].role != members[group.front()].role;
    same.conflict = same.conflict || label(i) != label(group.front());
  }
  return same;
}

}  // namespace

DataCheckReport check_data(const DataSet& data, const DataCheckOptions& options) {
  check(options.threads >= 0, "data_check", "threads must be >= 0, got ", options.threads);
  const Source& source = *data.source;
  std::vector<Member> members;
  for (const RoleView& view : data.roles) {
    for (const uint64_t id : *view.ids) {
      members.push_back({id, view.role});
    }
  }
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });

  ThreadPool pool(options.threads > 0 ? options.threads : usable_cores());
  const auto threads = static_cast<size_t>(pool.size());
  std::vector<Look> looks(members.size());
  std::vector<std::vector<std::byte>> buffers(threads);
  std::vector<Image> images(threads);
  std::vector<Sums> sums(threads);
  pool.run(static_cast<int64_t>(members.size()), [&](int64_t i, int thread) {
    const auto t = static_cast<size_t>(thread);
    Look& look = looks[static_cast<size_t>(i)];
    const Member& member = members[static_cast<size_t>(i)];
    try {
      const Stored stored = source.read(static_cast<int64_t>(member.id), buffers[t]);
      ImageView pixels = stored.pixels;
      if (stored.encoded()) {
        look.bytes = static_cast<int64_t>(stored.file.size());
        look.of_bytes = sha256(stored.file);
        DecodeReport report;
        pixels = decode_into(stored.file, {}, images[t], &report);
        look.info = report.info;
      } else {
        look.info.h = pixels.h;
        look.info.w = pixels.w;
        look.info.c = pixels.c;
      }
      look.of_pixels = digest_pixels(pixels);
      if (options.near_duplicates) {
        look.look = look_of(pixels);
      }
      look.readable = true;
      if (member.role == Role::train) {
        add_pixels(pixels, data.channels, sums[t]);
      }
    } catch (const DecodeError& e) {
      look.reason = e.reason();
      look.detail = e.detail();
    }
  });

  DataCheckReport report;
  report.source = members.empty() ? "" : source.path(static_cast<int64_t>(members.front().id));
  report.format = data.format;
  report.classes = data.classes;
  report.notes = data.notes;
  std::array<std::vector<int64_t>, kRoles> readable;
  for (size_t r = 0; r < kRoles; ++r) {
    report.counts[r] = data.class_counts(static_cast<Role>(r));
    report.sizes[r] = data.roles[r].size();
    readable[r].resize(data.classes.size());
  }
  std::vector<int32_t> heights;
  std::vector<int32_t> widths;
  for (size_t i = 0; i < looks.size(); ++i) {
    const Look& look = looks[i];
    const auto id = static_cast<int64_t>(members[i].id);
    if (!look.readable) {
      report.bad.push_back({.id = members[i].id,
                            .path = source.name(id),
                            .role = members[i].role,
                            .reason = look.reason,
                            .detail = look.detail,
                            .bytes = look.bytes,
                            .action = "",
                            .substitute_id = {}});
      continue;
    }
    ++report.readable;
    for (const int32_t c : source.classes_of(id)) ++readable[static_cast<size_t>(members[i].role)][static_cast<size_t>(c)];
    heights.push_back(look.info.h);
    widths.push_back(look.info.w);
    ++(look.info.c == 1 ? report.gray : look.info.c == 3 ? report.color : report.alpha);
    ++(look.info.codec == Codec::jpeg   ? report.jpeg
       : look.info.codec == Codec::png  ? report.png
       : look.info.codec == Codec::webp ? report.webp
                                        : report.raw);
    report.exif_turned += look.info.exif > 1;
    report.progressive += look.info.progressive;
    report.cmyk += look.info.cmyk;
  }
  report.side_bins = bins({{32, "up to 32"}, {64, "33 to 64"}, {128, "65 to 128"}, {224, "129 to 224"}, {384, "225 to 384"},
                           {768, "385 to 768"}, {1e9, "more than 768"}},
                          heights.size(), [&](size_t i) { return std::min(heights[i], widths[i]); });
  report.aspect_bins = bins({{0.5, "up to 1:2"}, {0.74, "1:2 to 3:4"}, {0.95, "3:4 to square"}, {1.05, "square"}, {1.35, "square to 4:3"},
                             {2, "4:3 to 2:1"}, {1e9, "more than 2:1"}},
                            heights.size(), [&](size_t i) { return static_cast<double>(widths[i]) / heights[i]; });
  report.height = spread(std::move(heights));
  report.width = spread(std::move(widths));
  for (size_t r = 0; r < kRoles; ++r) {
    for (size_t c = 0; c < data.classes.size() && report.sizes[r] > 0; ++c) {
      if (readable[r][c] == 0) {
        report.empty_classes.push_back(std::string(to_string(static_cast<Role>(r))) + ": " +
                                       data.classes[c]);
      } else if (static_cast<Role>(r) == Role::train && readable[r][c] < options.tiny_class) {
        report.tiny_classes.push_back(data.classes[c]);
      }
    }
  }
  Sums total;
  for (const Sums& s : sums) {
    total.pixels += s.pixels;
    for (int c = 0; c < 3; ++c) {
      total.sum[c] += s.sum[c];
      total.squares[c] += s.squares[c];
    }
  }
  for (int32_t c = 0; c < data.channels && total.pixels > 0; ++c) {
    const double mean = total.sum[c] / total.pixels;
    report.mean.push_back(mean / 255.0);
    report.std.push_back(std::sqrt(std::max(0.0, total.squares[c] / total.pixels - mean * mean)) /
                         255.0);
  }
  for (const std::vector<size_t>& group : equal_groups(looks)) {
    report.duplicates.push_back(duplicates_of(source, members, group));
  }
  if (options.near_duplicates) {
    for (const std::vector<size_t>& group : near_groups(looks)) {
      report.near_duplicates.push_back(duplicates_of(source, members, group));
    }
  }
  return report;
}

}  // namespace ballast

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/sha256.h>
#include <ballast/base/thread_pool.h>
#include <ballast/data/data_check.h>
#include <ballast/image/decode.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <map>
#include <sstream>

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
    ++readable[static_cast<size_t>(members[i].role)][static_cast<size_t>(source.label(id))];
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
    DataCheckReport::Duplicates same;
    for (const size_t i : group) {
      const auto id = static_cast<int64_t>(members[i].id);
      same.names.push_back(source.name(id));
      same.leak = same.leak || members[i].role != members[group.front()].role;
      same.conflict =
          same.conflict ||
          source.label(id) != source.label(static_cast<int64_t>(members[group.front()].id));
    }
    report.duplicates.push_back(std::move(same));
  }
  return report;
}

int64_t DataCheckReport::leaks() const {
  return std::count_if(duplicates.begin(), duplicates.end(),
                       [](const Duplicates& d) { return d.leak; });
}

int64_t DataCheckReport::conflicts() const {
  return std::count_if(duplicates.begin(), duplicates.end(),
                       [](const Duplicates& d) { return d.conflict; });
}

bool DataCheckReport::ok() const {
  return bad.empty() && empty_classes.empty() && leaks() == 0 && conflicts() == 0;
}

std::string DataCheckReport::text() const {
  constexpr size_t kMostLines = 20;
  std::ostringstream out;
  size_t width_of_name = 5;
  for (const std::string& name : classes) {
    width_of_name = std::max(width_of_name, name.size());
  }
  const auto cell = [&](const auto& value) { out << std::setw(9) << std::right << value; };
  const auto name_cell = [&](std::string_view name) {
    out << std::left << std::setw(static_cast<int>(width_of_name)) << name;
  };
  name_cell("class");
  for (size_t r = 0; r < kRoles; ++r) {
    cell(to_string(static_cast<Role>(r)));
  }
  out << '\n';
  for (size_t c = 0; c < classes.size(); ++c) {
    name_cell(classes[c]);
    for (size_t r = 0; r < kRoles; ++r) {
      cell(counts[r][c]);
    }
    out << '\n';
  }
  name_cell("all");
  for (size_t r = 0; r < kRoles; ++r) {
    cell(sizes[r]);
  }
  out << "\n\n";
  const auto line = [&](std::string_view name, const auto&... parts) {
    out << std::left << std::setw(14) << name;
    (out << ... << parts);
    out << '\n';
  };
  line("readable", readable, " of ", readable + static_cast<int64_t>(bad.size()));
  line("height", height.min, " to ", height.max, ", median ", height.median);
  line("width", width.min, " to ", width.max, ", median ", width.median);
  line("channels", gray, " gray, ", color, " colour, ", alpha, " with alpha");
  if (raw > 0) {
    line("format", format);
  } else {
    line("format", jpeg, " JPEG (", progressive, " progressive, ", cmyk, " CMYK), ", png, " PNG, ",
         webp, " WebP");
    line("EXIF turned", exif_turned,
         exif_turned > 0 ? " (the turn is ignored, as Pillow and torchvision do)" : "");
  }
  const auto values = [&](std::string_view name, const std::vector<double>& list) {
    out << std::left << std::setw(14) << name << std::fixed << std::setprecision(4);
    for (size_t i = 0; i < list.size(); ++i) {
      out << (i > 0 ? ", " : "") << list[i];
    }
    out << std::defaultfloat << '\n';
  };
  values("mean", mean);
  values("std", std);
  line("duplicates", duplicates.size(), " groups, ", leaks(), " across parts, ", conflicts(),
       " under different labels");
  for (const std::string& note : notes) {
    line("note", note);
  }
  if (!tiny_classes.empty()) {
    out << "\nclasses with few pictures to train on:\n";
    for (const std::string& name : tiny_classes) {
      out << "  " << name << '\n';
    }
  }
  if (!empty_classes.empty()) {
    out << "\nclasses without a readable picture:\n";
    for (const std::string& name : empty_classes) {
      out << "  " << name << '\n';
    }
  }
  const auto more = [&](size_t n) {
    if (n > kMostLines) {
      out << "  and " << n - kMostLines << " more\n";
    }
  };
  if (!bad.empty()) {
    out << "\nfiles that cannot be used:\n";
    for (size_t i = 0; i < std::min(bad.size(), kMostLines); ++i) {
      out << "  " << bad[i].path << ": " << to_string(bad[i].reason) << ": " << bad[i].detail
          << '\n';
    }
    more(bad.size());
  }
  size_t shown = 0;
  for (const Duplicates& group : duplicates) {
    if (!group.leak && !group.conflict) {
      continue;
    }
    if (shown++ == 0) {
      out << "\nthe same picture in several parts or under several labels:\n";
    }
    if (shown <= kMostLines) {
      out << "  ";
      for (size_t i = 0; i < group.names.size(); ++i) {
        out << (i > 0 ? " = " : "") << group.names[i];
      }
      out << '\n';
    }
  }
  more(shown);
  return out.str();
}

std::string DataCheckReport::json() const {
  nlohmann::ordered_json doc;
  doc["ok"] = ok();
  doc["format"] = format;
  doc["classes"] = classes;
  for (size_t r = 0; r < kRoles; ++r) {
    doc["counts"][std::string(to_string(static_cast<Role>(r)))] = counts[r];
  }
  doc["readable"] = readable;
  for (const auto& [name, s] : {std::pair{"height", height}, {"width", width}}) {
    doc[name] = {{"min", s.min}, {"median", s.median}, {"max", s.max}};
  }
  doc["channels"] = {{"gray", gray}, {"color", color}, {"alpha", alpha}};
  doc["codecs"] = {{"jpeg", jpeg}, {"png", png}, {"webp", webp}, {"raw", raw}};
  doc["exif_turned"] = exif_turned;
  doc["progressive"] = progressive;
  doc["cmyk"] = cmyk;
  doc["mean"] = mean;
  doc["std"] = std;
  doc["empty_classes"] = empty_classes;
  doc["tiny_classes"] = tiny_classes;
  doc["bad"] = nlohmann::ordered_json::array();
  for (const BadSample& row : bad) {
    doc["bad"].push_back({{"id", row.id},
                          {"path", row.path},
                          {"role", to_string(row.role)},
                          {"reason", to_string(row.reason)},
                          {"detail", row.detail},
                          {"bytes", row.bytes}});
  }
  doc["duplicates"] = nlohmann::ordered_json::array();
  for (const Duplicates& group : duplicates) {
    doc["duplicates"].push_back(
        {{"names", group.names}, {"leak", group.leak}, {"conflict", group.conflict}});
  }
  doc["leaks"] = leaks();
  doc["conflicts"] = conflicts();
  doc["notes"] = notes;
  // File names need not be UTF-8.
  return doc.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace ballast

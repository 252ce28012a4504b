#include <ballast/data/data_check.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <tuple>

namespace ballast {

int64_t DataCheckReport::leaks() const {
  return std::count_if(duplicates.begin(), duplicates.end(),
                       [](const Duplicates& d) { return d.leak; });
}

int64_t DataCheckReport::near_leaks() const {
  return std::count_if(near_duplicates.begin(), near_duplicates.end(),
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
  const auto near_conflicts = std::count_if(near_duplicates.begin(), near_duplicates.end(),
                                            [](const Duplicates& d) { return d.conflict; });
  line("look alike", near_duplicates.size(), " groups, ", near_leaks(), " across parts, ", near_conflicts,
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
  for (const auto& [groups, title, sign] :
       {std::tuple{&duplicates, "\nthe same picture in several parts or under several labels:\n", " = "},
        {&near_duplicates, "\npictures that look alike in several parts or under several labels:\n", " ~ "}}) {
    size_t shown = 0;
    for (const Duplicates& group : *groups) {
      if (!group.leak && !group.conflict) {
        continue;
      }
      if (shown++ == 0) {
        out << title;
      }
      if (shown <= kMostLines) {
        out << "  ";
        for (size_t i = 0; i < group.names.size(); ++i) {
          out << (i > 0 ? sign : "") << group.names[i];
        }
        out << '\n';
      }
    }
    more(shown);
  }
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
  doc["near_duplicates"] = nlohmann::ordered_json::array();
  for (const Duplicates& group : near_duplicates) {
    doc["near_duplicates"].push_back(
        {{"names", group.names}, {"leak", group.leak}, {"conflict", group.conflict}});
  }
  doc["leaks"] = leaks();
  doc["near_leaks"] = near_leaks();
  doc["conflicts"] = conflicts();
  doc["notes"] = notes;
  // File names need not be UTF-8.
  return doc.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace ballast

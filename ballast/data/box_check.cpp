#include <ballast/base/cpu.h>
#include <ballast/base/thread_pool.h>
#include <ballast/data/box_set.h>
#include <ballast/image/decode.h>
#include <ballast/io/file.h>
#include <ballast/io/json.h>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace ballast {
namespace {

std::string text_of(const AnnotatedBox& b) {
  std::ostringstream out;
  out << b.x1 << ", " << b.y1 << " to " << b.x2 << ", " << b.y2;
  return out.str();
}

/// What is wrong with a box in a picture of this size, or "".
std::string wrong(const AnnotatedBox& b, int32_t w, int32_t h) {
  if (!std::isfinite(b.x1) || !std::isfinite(b.y1) || !std::isfinite(b.x2) || !std::isfinite(b.y2)) {
    return "not_finite";
  }
  if (b.x2 <= b.x1 || b.y2 <= b.y1) {
    return "empty";
  }
  if (b.x2 - b.x1 <= 1 || b.y2 - b.y1 <= 1) {
    return "one_pixel";
  }
  if (w > 0 && (b.x1 < -0.5 || b.y1 < -0.5 || b.x2 > w + 0.5 || b.y2 > h + 0.5)) {
    return "outside";
  }
  return "";
}

}  // namespace

BoxCheckReport check_boxes(BoxSet set, int threads) {
  BoxCheckReport report;
  report.counts.resize(set.classes.size());
  std::vector<std::vector<BoxProblem>> found(set.pictures.size());
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  std::vector<Image> storages(static_cast<size_t>(pool.size()));
  pool.run(static_cast<int64_t>(set.pictures.size()), [&](int64_t i, int thread) {
    const AnnotatedPicture& p = set.pictures[static_cast<size_t>(i)];
    auto& problems = found[static_cast<size_t>(i)];
    int32_t w = p.w;
    int32_t h = p.h;
    try {
      const ImageView image = decode_into(read_file(p.path, uint64_t{1} << 28), {}, storages[static_cast<size_t>(thread)]);
      if (p.w > 0 && (p.w != image.w || p.h != image.h)) {
        problems.push_back({p.path, -1, "other_size", "the annotation says " + std::to_string(p.w) + "x" + std::to_string(p.h) + ", the picture is " +
                                                          std::to_string(image.w) + "x" + std::to_string(image.h)});
      }
      w = image.w;
      h = image.h;
    } catch (const DecodeError& e) {
      problems.push_back({p.path, -1, std::string(to_string(e.reason())), e.detail()});
    } catch (const DataError& e) {
      problems.push_back({p.path, -1, "missing", e.what()});
    }
    for (size_t b = 0; b < p.boxes.size(); ++b) {
      const std::string reason = wrong(p.boxes[b], w, h);
      if (!reason.empty()) {
        problems.push_back({p.path, static_cast<int64_t>(b), reason, text_of(p.boxes[b]) + " in " + std::to_string(w) + "x" + std::to_string(h)});
      }
    }
  });
  for (size_t i = 0; i < set.pictures.size(); ++i) {
    report.without_boxes += set.pictures[i].boxes.empty();
    for (const AnnotatedBox& b : set.pictures[i].boxes) {
      ++report.counts[static_cast<size_t>(b.label)];
      ++report.boxes;
    }
    report.problems.insert(report.problems.end(), found[i].begin(), found[i].end());
  }
  report.set = std::move(set);
  return report;
}

std::string BoxCheckReport::text() const {
  constexpr size_t kMostLines = 20;
  std::ostringstream out;
  size_t width = 8;
  for (const std::string& name : set.classes) {
    width = std::max(width, name.size() + 2);
  }
  const auto row = [&](const std::string& name, int64_t n) {
    out << std::left << std::setw(static_cast<int>(width)) << name << std::right << std::setw(9) << n << '\n';
  };
  for (size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] > 0) {
      row(set.classes[c], counts[c]);
    }
  }
  row("boxes", boxes);
  row("pictures", static_cast<int64_t>(set.pictures.size()));
  out << "\nformat  " << set.format << '\n';
  for (const std::string& note : set.notes) {
    out << "note    " << note << '\n';
  }
  const auto empty = std::count(counts.begin(), counts.end(), 0);
  if (empty > 0) {
    out << "note    " << empty << (empty == 1 ? " class has" : " classes have") << " no box\n";
  }
  if (without_boxes > 0) {
    out << "note    " << without_boxes << (without_boxes == 1 ? " picture has" : " pictures have") << " no box\n";
  }
  if (!problems.empty()) {
    out << "\nto be mended:\n";
    for (size_t i = 0; i < std::min(kMostLines, problems.size()); ++i) {
      const BoxProblem& p = problems[i];
      out << "  " << p.path << (p.box >= 0 ? " box " + std::to_string(p.box) : "") << ": " << p.reason << ": " << p.detail << '\n';
    }
    if (problems.size() > kMostLines) {
      out << "  and " << problems.size() - kMostLines << " more\n";
    }
  }
  return out.str();
}

std::string BoxCheckReport::json() const {
  JsonValue doc = JsonValue::object();
  doc["ok"] = ok();
  doc["format"] = set.format;
  doc["pictures"] = static_cast<int64_t>(set.pictures.size());
  doc["boxes"] = boxes;
  doc["without_boxes"] = without_boxes;
  doc["classes"] = JsonValue(set.classes);
  doc["counts"] = JsonValue(counts);
  doc["notes"] = JsonValue(set.notes);
  doc["problems"] = JsonValue::array();
  for (const BoxProblem& p : problems) {
    JsonValue one = JsonValue::object();
    one["path"] = p.path;
    one["box"] = p.box;
    one["reason"] = p.reason;
    one["detail"] = p.detail;
    doc["problems"].push_back(std::move(one));
  }
  return doc.text(2) + '\n';
}

}  // namespace ballast

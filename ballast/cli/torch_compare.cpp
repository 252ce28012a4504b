#include "torch_commands.h"

#include <ballast/base/shape.h>
#include <ballast/report/table.h>
#include <ballast/weights/compare_weights.h>
#include <ballast/weights/weights_file.h>

namespace ballast::cli {
namespace {

using nlohmann::ordered_json;

constexpr size_t kShown = 20;

std::string ulps_text(int64_t ulps) { return ulps < 0 ? "" : format_count(ulps); }

std::string sides(const std::string& a, const std::string& b) { return a == b ? a : a + " | " + b; }

std::string shape_of(const std::vector<int64_t>& shape, const std::string& type) {
  return type.empty() ? "-" : shape_text(shape);
}

ordered_json json_of(const TensorDifference& d) {
  ordered_json out = {{"name", d.name}, {"kind", difference_name(d.kind)}};
  if (!d.type_a.empty()) {
    out["shape_a"] = d.shape_a;
    out["type_a"] = d.type_a;
  }
  if (!d.type_b.empty()) {
    out["shape_b"] = d.shape_b;
    out["type_b"] = d.type_b;
  }
  if (d.kind == DifferenceKind::values || d.kind == DifferenceKind::type) {
    out["numbers"] = d.numbers;
    out["differing"] = d.differing;
    out["largest"] = std::isfinite(d.largest) ? ordered_json(d.largest) : ordered_json("inf");
    out["ulps"] = d.ulps < 0 ? ordered_json() : ordered_json(d.ulps);
    out["first"] = d.first;
  }
  return out;
}

}  // namespace

int compare_with_torch(const Session& session, const CompareRequest& request) {
  const WeightsFile a = open_weights(request.a), b = open_weights(request.b);
  const CompareReport report = compare_weights(a.state, b.state);
  std::string text = request.lead + "A  " + a.path.string() + ": " + format_count(report.tensors_a) + " tensors\nB  " + b.path.string() + ": " +
      format_count(report.tensors_b) + " tensors\n";
  ordered_json differences = ordered_json::array();
  if (report.same()) {
    text += "equal in every bit\n";
  } else {
    const TensorDifference& first = report.differences.front();
    text += "first difference: " + first.name + " (" + std::string(difference_name(first.kind)) + ")";
    if (first.differing > 0) {
      text += " at " + shape_text(first.first) + ": " + format_significant(first.first_a, 9) + " | " +
          format_significant(first.first_b, 9);
    }
    text += "\n" + format_count(static_cast<int64_t>(report.differences.size())) + " tensors differ, " +
        format_count(report.equal) + " are equal; largest difference " + format_significant(report.largest, 4) +
        (report.ulps < 0 ? "" : ", " + format_count(report.ulps) + " ulps") + "\n\n";
    Table table({{"tensor", Table::Align::left}, {"difference", Table::Align::left}, {"type", Table::Align::left},
                 {"shape", Table::Align::left}, {"differing", Table::Align::right}, {"largest", Table::Align::right},
                 {"ulps", Table::Align::right}});
    size_t shown = 0;
    for (const TensorDifference& d : report.differences) {
      differences.push_back(json_of(d));
      if (++shown > kShown && !session.verbose) {
        continue;
      }
      const bool values = d.kind == DifferenceKind::values || d.kind == DifferenceKind::type;
      table.row({printable(d.name), std::string(difference_name(d.kind)),
                 sides(d.type_a.empty() ? "-" : d.type_a, d.type_b.empty() ? "-" : d.type_b),
                 sides(shape_of(d.shape_a, d.type_a), shape_of(d.shape_b, d.type_b)),
                 values ? format_count(d.differing) : "", values ? format_significant(d.largest, 4) : "",
                 values ? ulps_text(d.ulps) : ""});
    }
    text += table.text();
    if (shown > kShown && !session.verbose) {
      text += "and " + format_count(static_cast<int64_t>(shown - kShown)) + " more: --verbose\n";
    }
  }
  session.print(text);
  ordered_json document = {{"a", a.path.string()}, {"b", b.path.string()}, {"same", report.same()}, {"tensors_a", report.tensors_a},
                    {"tensors_b", report.tensors_b}, {"equal", report.equal},
                    {"first", report.same() ? ordered_json() : ordered_json(report.differences.front().name)},
                    {"largest", std::isfinite(report.largest) ? ordered_json(report.largest) : ordered_json("inf")},
                    {"ulps", report.ulps < 0 ? ordered_json() : ordered_json(report.ulps)}, {"differences", differences}};
  if (request.members.is_object()) {
    document.update(request.members);
  }
  session.document(document);
  return report.same() && !request.differ ? kDone : kDamage;
}

}  // namespace ballast::cli

#include "ensemble_input.h"

#include <algorithm>
#include <numeric>

#include <ballast/base/check.h>
#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/diversity.h>
#include <ballast/report/table.h>

#include "ensemble_plan.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

RoleTable rows_of(const std::vector<MemberTable>& tables, const std::vector<size_t>& rows,
                  const std::vector<uint64_t>& number) {
  RoleTable out;
  for (const MemberTable& t : tables) {
    MemberTable part;
    part.n = static_cast<int64_t>(rows.size());
    part.k = t.k;
    part.is_logit = t.is_logit;
    part.classes = t.classes;
    part.source = t.source;
    const auto k = static_cast<size_t>(t.k);
    part.scores.reserve(rows.size() * k);
    for (const size_t i : rows) {
      part.scores.insert(part.scores.end(), t.scores.begin() + static_cast<int64_t>(i * k),
                         t.scores.begin() + static_cast<int64_t>((i + 1) * k));
      if (!t.id.empty()) part.id.push_back(t.id[i]);
      if (!t.label.empty()) part.label.push_back(t.label[i]);
    }
    out.tables.push_back(std::move(part));
  }
  for (const size_t i : rows) {
    out.row.push_back(number[i]);
    if (!tables[0].label.empty()) out.label.push_back(tables[0].label[i]);
  }
  return out;
}

std::vector<size_t> counted(size_t n) {
  std::vector<size_t> out(n);
  std::iota(out.begin(), out.end(), size_t{0});
  return out;
}

/// Numbers of a table's rows: their ids where they are numbers, else positions. Different splits of
/// one data set have different ids.
std::vector<uint64_t> numbers(const MemberTable& t, uint64_t offset) {
  std::vector<uint64_t> out(static_cast<size_t>(t.n));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = offset + i;
    if (i < t.id.size() && !t.id[i].empty() &&
        std::ranges::all_of(t.id[i], [](char c) { return c >= '0' && c <= '9'; }) &&
        t.id[i].size() < 19) {
      out[i] = std::stoull(t.id[i]);
    }
  }
  return out;
}

void add_labels(std::vector<MemberTable>& tables, const MemberFlags& flags, bool required) {
  if (!flags.labels.empty()) {
    const LabelTable given = read_label_table(flags.labels);
    MemberTable& first = tables[0];
    check<DataError>(static_cast<int64_t>(given.label.size()) == first.n, "members",
                     "labels must be one per row, got ", given.label.size(), " in ", flags.labels,
                     " for ", first.n, " rows of ", first.source);
    std::vector<int32_t> label = given.label;
    if (!given.id.empty() && !first.id.empty() && given.id != first.id) {
      std::vector<std::pair<std::string, int32_t>> by_id;
      for (size_t i = 0; i < given.id.size(); ++i) by_id.emplace_back(given.id[i], given.label[i]);
      std::ranges::sort(by_id);
      for (size_t i = 0; i < label.size(); ++i) {
        const auto at = std::ranges::lower_bound(by_id, first.id[i], {},
                                                 &std::pair<std::string, int32_t>::first);
        check<DataError>(at != by_id.end() && at->first == first.id[i], "members", flags.labels,
                         " lacks row ", first.id[i], " of ", first.source);
        label[i] = at->second;
      }
    }
    for (size_t i = 0; i < label.size(); ++i) {
      check<DataError>(label[i] < first.k, "members", flags.labels, ": a label must be in [0, ",
                       first.k, "), got ", label[i], " at row ", i);
    }
    for (MemberTable& t : tables) t.label = label;
  }
  check(!required || !tables[0].label.empty() || tables[0].n == 0, "members",
        "labels are required: give --labels FILE, or files that have a column \"label\"");
}

void refuse_training_rows(const std::vector<MemberTable>& tables, const MemberFlags& flags) {
  for (size_t m = 0; m < tables.size(); ++m) {
    const auto split = tables[m].metadata.find("split");
    check<DataError>(
        flags.trust_roles || split == tables[m].metadata.end() || split->second != "train", "stack",
        "predictions must be out-of-fold, got member ", m, " on ", tables[m].n,
        " of its own training rows (", tables[m].source, ")");
  }
}

/// Predictions of one member's nets, each on the fold that it did not see.
MemberTable joined(std::vector<MemberTable>& parts) {
  MemberTable out = std::move(parts[0]);
  for (size_t f = 1; f < parts.size(); ++f) {
    const MemberTable& t = parts[f];
    check<DataError>(t.k == out.k && t.is_logit == out.is_logit, "members",
                     "folds must have equal classes, got ", out.k, " in ", out.source, " and ", t.k,
                     " in ", t.source);
    out.scores.insert(out.scores.end(), t.scores.begin(), t.scores.end());
    out.id.insert(out.id.end(), t.id.begin(), t.id.end());
    out.label.insert(out.label.end(), t.label.begin(), t.label.end());
    out.n += t.n;
  }
  return out;
}

/// What the nets of one member say together: the mean of their probabilities.
MemberTable mean_of(std::vector<MemberTable>& parts, int threads) {
  align_member_tables(parts);
  std::vector<Predictions> views;
  for (const MemberTable& t : parts) views.push_back({t.scores.data(), t.n, t.k, t.is_logit});
  MemberTable out = std::move(parts[0]);
  out.scores = combine(views, {.threads = threads}).probability;
  out.is_logit = false;
  return out;
}

void refuse_twins(const EnsembleInput& input, const RoleTable& rows) {
  for (const PairDiversity& p : identical_pairs(rows.views())) {
    const auto name = [&](int32_t m) { return input.name[static_cast<size_t>(m)]; };
    fail<DataError>("diversity", "members ", p.i, " and ", p.j, " are identical on all ",
                    rows.size(), " rows (", name(p.i), " and ", name(p.j), "): same seed?");
  }
}

}  // namespace

std::vector<Predictions> RoleTable::views() const {
  std::vector<Predictions> out;
  for (const MemberTable& t : tables) out.push_back({t.scores.data(), t.n, t.k, t.is_logit});
  return out;
}

const RoleTable& EnsembleInput::of(DataRole role) const {
  switch (role) {
    case DataRole::select:
      return select;
    case DataRole::calib:
      return calib;
    case DataRole::test:
      return test;
    default:
      fail("roles", "an ensemble reads select, calib or test, got ", to_string(role));
  }
}

JsonValue read_ensemble_json(const fs::path& folder) {
  const fs::path file = folder / "ensemble.json";
  std::error_code error;
  if (!fs::exists(file, error)) return JsonValue::object();
  return parse_json(read_text_file(file, 1 << 26), file.string());
}

void write_ensemble_json(const fs::path& folder, const JsonValue& value) {
  write_file_atomic(folder / "ensemble.json", value.text(2) + "\n");
}

EnsembleInput load_members(const std::vector<std::string>& operands, const MemberFlags& flags,
                           const Needs& asked) {
  EnsembleInput input;
  Needs needs = asked;
  std::vector<std::string> words = operands;
  std::vector<std::vector<fs::path>> nets;  // folders of predictions of each member that is a run
  std::error_code error;
  if (words.size() == 1 && has_plan(words[0])) {
    input.folder = words[0];
    words.clear();
    // Rows that the kept rule was fitted on are no rows of test.
    const JsonValue kept = read_ensemble_json(input.folder);
    if (const JsonValue* used = kept.find("used"); used != nullptr) {
      for (const JsonValue& u : used->elements()) {
        needs.select = needs.select || u.string_or("role", "") == "select";
        needs.calib = needs.calib || u.string_or("role", "") == "calib";
      }
    }
    for (const PlannedMember& m : read_plan(input.folder).members) {
      if (m.retired || m.lost) continue;
      nets.push_back(prediction_folders(input.folder, m));
      for (const fs::path& folder : nets.back()) {
        check<DataError>(fs::exists(folder / "test.safetensors", error), "ensemble", "member ",
                         m.id, " (", m.name, ") is missing: there is no ",
                         (folder / "test.safetensors").string(), "; ballast ensemble retire ",
                         input.folder.string(), ' ', m.id, " goes on without it");
      }
      words.push_back(member_folder(input.folder, m).string());
      input.nets.emplace_back();
      for (const fs::path& run : member_runs(input.folder, m)) {
        const bool inside = fs::path(m.folder).is_relative();
        input.nets.back().push_back(inside ? run.lexically_relative(input.folder).string()
                                           : run.string());
      }
      input.id.push_back(m.id);
      input.name.push_back(m.name);
    }
    check<DataError>(!words.empty(), "ensemble", input.folder.string(),
                     ": every member is retired");
  }
  size_t runs = 0;
  for (const std::string& word : words) runs += fs::is_directory(word, error);
  check(runs == 0 || runs == words.size(), "members",
        "members must be all run folders or all files, got ", runs, " folders of ", words.size());
  if (input.id.empty()) {
    for (size_t m = 0; m < words.size(); ++m) {
      input.id.push_back(static_cast<int64_t>(m));
      const fs::path path = fs::path(words[m]).lexically_normal();
      input.name.push_back(path.filename().empty() ? path.parent_path().filename().string()
                                                   : path.filename().string());
    }
  }

  if (runs > 0 && nets.empty()) {
    for (const std::string& word : words) nets.push_back({fs::path(word) / "predictions"});
  }
  std::vector<MemberTable> test, fit;
  if (runs > 0) {
    const auto read = [&](const char* split) {
      std::vector<MemberTable> out;
      for (const std::vector<fs::path>& member : nets) {
        std::vector<MemberTable> parts;
        for (const fs::path& folder : member) {
          const fs::path file = folder / (std::string(split) + ".safetensors");
          if (!fs::exists(file, error)) return std::vector<MemberTable>();
          parts.push_back(read_member_table(file));
        }
        out.push_back(parts.size() == 1              ? std::move(parts[0])
                      : split == std::string("test") ? mean_of(parts, thread_count(flags))
                                                     : joined(parts));
      }
      return out;
    };
    test = read("test");
    check<DataError>(!test.empty(), "members",
                     "predictions/test.safetensors is missing in a member of ",
                     input.folder.empty() ? words[0] : input.folder.string());
    align_member_tables(test);
    fit = read("hold");
    if (!fit.empty()) {
      const bool folds =
          std::ranges::any_of(nets, [](const auto& member) { return member.size() > 1; });
      input.roles = std::string("select and calib are halves of the ") +
                    (folds ? "out-of-fold predictions" : "rows held out");
    }
  } else {
    for (const std::string& word : words) test.push_back(read_member_table(word));
    align_member_tables(test);
  }
  add_labels(test, flags, needs.labels);
  for (const MemberTable& t : test) {
    if (input.classes.empty()) input.classes = t.classes;
  }
  const auto test_numbers = numbers(test[0], 0);
  const bool fits = needs.select || needs.calib;
  if (fits) refuse_training_rows(fit.empty() ? test : fit, flags);
  if (!fit.empty()) {
    input.test = rows_of(test, counted(static_cast<size_t>(test[0].n)), test_numbers);
    if (fits) {
      align_member_tables(fit);
      const RoleParts half = draw_roles(fit[0].label, 0.5, 0, Key(flags.seed).fold_in("roles"));
      const auto number = numbers(fit[0], uint64_t{1} << 62);
      const auto all = counted(static_cast<size_t>(fit[0].n));
      input.select = rows_of(fit, flags.share_roles ? all : half.select, number);
      input.calib = rows_of(fit, flags.share_roles ? all : half.test, number);
    }
    input.all = input.test;
  } else {
    const auto all = counted(static_cast<size_t>(test[0].n));
    input.all = rows_of(test, all, test_numbers);
    if (!fits || flags.share_roles) {
      input.test = input.all;
      if (fits) input.select = input.calib = input.all;
      input.roles = fits ? "every role reads all rows" : "nothing is fitted: all rows are test";
    } else {
      // The same rows for the same role, whatever else is needed; a role without use leaves its
      // rows to test.
      RoleParts parts = draw_roles(test[0].label, flags.select_share, flags.calib_share,
                                   Key(flags.seed).fold_in("roles"));
      for (auto* part :
           {needs.select ? nullptr : &parts.select, needs.calib ? nullptr : &parts.calib}) {
        if (part == nullptr) continue;
        parts.test.insert(parts.test.end(), part->begin(), part->end());
        part->clear();
      }
      std::ranges::sort(parts.test);
      input.select = rows_of(test, parts.select, test_numbers);
      input.calib = rows_of(test, parts.calib, test_numbers);
      input.test = rows_of(test, parts.test, test_numbers);
      input.roles = "rows are shared out by class: " + format_count(input.select.size()) +
                    " select, " + format_count(input.calib.size()) + " calib, " +
                    format_count(input.test.size()) + " test";
    }
  }
  if (fits && flags.share_roles) input.optimistic = true;
  if (input.name.size() > 1 && input.test.size() > 0) refuse_twins(input, input.test);
  return input;
}

int thread_count(const FigureFlags& flags) { return static_cast<int>(flags.threads.value_or(0)); }

Figures figures_of(std::string name, const Predictions& p, std::span<const int32_t> label,
                   std::span<const int32_t> predicted, const FigureFlags& flags) {
  return {std::move(name), quality(p, label, predicted),
          bootstrap_quality(p, label, predicted, Key(flags.seed), thread_count(flags))};
}

std::vector<Figures> member_figures(const EnsembleInput& input, const RoleTable& rows,
                                    const FigureFlags& flags) {
  std::vector<Figures> out;
  const auto views = rows.views();
  for (size_t m = 0; m < views.size(); ++m) {
    check_scores("combine", views[m], static_cast<int64_t>(m));
    const auto p = probabilities(views[m], 1, thread_count(flags));
    const auto label = top_classes(views[m]);
    out.push_back(figures_of(input.name[m], {p.data(), views[m].n, views[m].k, false}, rows.label,
                             label, flags));
  }
  return out;
}

std::string figures_text(const std::vector<Figures>& rows) {
  Table table({{"", Table::Align::left},
               {"accuracy %", Table::Align::right},
               {"95 %", Table::Align::left},
               {"NLL", Table::Align::right},
               {"95 %", Table::Align::left},
               {"ECE %", Table::Align::right},
               {"95 %", Table::Align::left},
               {"Brier", Table::Align::right}});
  const auto range = [](const Bounds& b, double scale, int digits) {
    return format_fixed(scale * b.low, digits) + "-" + format_fixed(scale * b.high, digits);
  };
  for (const Figures& f : rows) {
    table.row({f.name, format_fixed(100 * f.quality.accuracy, 2), range(f.bounds.accuracy, 100, 2),
               format_fixed(f.quality.nll, 4), range(f.bounds.nll, 1, 4),
               format_fixed(100 * f.quality.ece, 2), range(f.bounds.ece, 100, 2),
               format_fixed(f.quality.brier, 4)});
  }
  return table.text();
}

nlohmann::ordered_json figures_json(const Figures& f) {
  nlohmann::ordered_json out = {{"name", f.name}, {"n", f.quality.n}};
  const auto put = [&](const char* key, double value, const Bounds& b) {
    out[key] = {{"value", value}, {"low", b.low}, {"high", b.high}};
  };
  put("accuracy", f.quality.accuracy, f.bounds.accuracy);
  put("nll", f.quality.nll, f.bounds.nll);
  put("brier", f.quality.brier, f.bounds.brier);
  put("ece", f.quality.ece, f.bounds.ece);
  put("ace", f.quality.ace, f.bounds.ace);
  put("class_ece", f.quality.class_ece, f.bounds.class_ece);
  put("mce", f.quality.mce, f.bounds.mce);
  return out;
}

std::string figures_note(const EnsembleInput& input, const RoleTable& rows, std::string_view role) {
  return "role " + std::string(role) + ", " + format_count(rows.size()) + " rows" +
         (input.roles.empty() ? "" : "; " + input.roles) +
         (input.optimistic ? " (optimistic)" : "");
}

}  // namespace ballast::cli

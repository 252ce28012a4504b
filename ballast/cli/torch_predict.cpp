#include "torch_commands.h"

#include <cerrno>
#include <filesystem>
#include <map>
#include <set>

#include <ballast/base/check.h>
#include <ballast/io/file.h>
#include <ballast/report/table.h>
#include <ballast/train/allocator.h>

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kUnsure = "unsure";
constexpr const char* kUnreadable = "unreadable";

std::string csv_cell(std::string text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) {
    return text;
  }
  std::string out = "\"";
  for (const char c : text) {
    out += c == '"' ? "\"\"" : std::string(1, c);
  }
  return out + "\"";
}

/// A class's name as a folder's: no path out of the target.
std::string folder_name(std::string name) {
  for (char& c : name) {
    if (c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20) {
      c = '_';
    }
  }
  return name.empty() || name == "." || name == ".." ? "_" : name;
}

/// Copies into `folder` under the file's own name, or name-2, name-3 where that is taken. Never overwrites.
fs::path copy_into(const fs::path& file, const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw StorageError("[predict] " + folder.string() + ": " + error.message(), error.value());
  }
  const std::string stem = file.stem().string(), extension = file.extension().string();
  for (int n = 1; n < 1'000'000; ++n) {
    const fs::path target = folder / (n == 1 ? stem + extension : stem + "-" + std::to_string(n) + extension);
    if (fs::exists(fs::symlink_status(target, error))) {
      continue;
    }
    error.clear();
    write_file_atomic(target, read_file(file));
    return target;
  }
  throw StorageError("[predict] " + folder.string() + " has too many files named " + stem, EEXIST);
}

struct Row {
  Prediction prediction;
  bool unsure = false;
  fs::path sorted;
};

std::string agreement(const Prediction& p, int64_t members) {
  return std::to_string(p.members_agree) + " of " + std::to_string(members);
}

std::string table_text(const std::vector<Row>& rows, const std::vector<std::string>& classes, int64_t members) {
  std::vector<Table::Column> columns = {{"file", Table::Align::left}, {"class", Table::Align::left},
                                        {"probability", Table::Align::right}};
  if (members > 1) columns.push_back({"agree", Table::Align::right});
  columns.push_back({"then", Table::Align::left});
  Table table(columns);
  for (const Row& row : rows) {
    const Prediction& p = row.prediction;
    if (!p.error.empty()) {
      table.row(members > 1 ? std::vector<std::string>{p.file.string(), "-", "-", "-", p.error}
                            : std::vector<std::string>{p.file.string(), "-", "-", p.error});
      continue;
    }
    std::string then;
    for (size_t i = 1; i < p.classes.size(); ++i) {
      then += (then.empty() ? "" : ", ") + classes[static_cast<size_t>(p.classes[i])] + " " +
          format_fixed(100 * p.probabilities[i], 1) + " %";
    }
    std::vector<std::string> cells = {p.file.string(), classes[static_cast<size_t>(p.classes[0])] + (row.unsure ? " (unsure)" : ""),
                                      format_fixed(100 * p.probabilities[0], 1) + " %"};
    if (members > 1) cells.push_back(agreement(p, members));
    cells.push_back(then);
    table.row(cells);
  }
  return table.text();
}

std::string logit_names(const std::vector<std::string>& classes) {
  std::string out;
  for (const std::string& name : classes) out += "," + csv_cell("logit:" + name);
  return out;
}

std::string logit_cells(const Prediction& p, size_t classes) {
  std::string out;
  for (size_t i = 0; i < classes; ++i) out += i < p.logits.size() ? "," + ordered_json(p.logits[i]).dump() : ",";
  return out;
}

ordered_json classes_of(const Prediction& p, const std::vector<std::string>& classes) {
  ordered_json all = ordered_json::array();
  for (size_t i = 0; i < p.classes.size(); ++i) {
    all.push_back({{"class", classes[static_cast<size_t>(p.classes[i])]}, {"index", p.classes[i]}, {"probability", p.probabilities[i]}});
  }
  return all;
}

std::string csv_text(const std::vector<Row>& rows, const std::vector<std::string>& classes, size_t k, bool logits,
                     int64_t members) {
  std::string out = members > 1 ? "file,error,unsure,members_agree,members_used,mutual_information" : "file,error,unsure";
  for (size_t i = 1; i <= k; ++i) {
    out += ",class" + std::to_string(i) + ",probability" + std::to_string(i);
  }
  if (logits) out += logit_names(classes);
  out += "\n";
  for (const Row& row : rows) {
    const Prediction& p = row.prediction;
    out += csv_cell(p.file.string()) + "," + csv_cell(p.error) + "," + (row.unsure ? "1" : "0");
    if (members > 1) {
      out += p.error.empty() ? "," + std::to_string(p.members_agree) + "," + std::to_string(members) + "," +
              ordered_json(p.mutual_information).dump()
                             : ",,,";
    }
    for (size_t i = 0; i < k; ++i) {
      out += i < p.classes.size() ? "," + csv_cell(classes[static_cast<size_t>(p.classes[i])]) + "," +
              ordered_json(p.probabilities[i]).dump()
                                  : ",,";
    }
    if (logits) out += logit_cells(p, classes.size());
    out += "\n";
  }
  return out;
}

ordered_json document(const std::vector<Row>& rows, const std::vector<std::string>& classes, const fs::path& model,
                      int64_t members) {
  ordered_json all = ordered_json::array();
  for (const Row& row : rows) {
    const Prediction& p = row.prediction;
    ordered_json one = {{"file", p.file.string()}};
    if (!p.error.empty()) {
      one["error"] = p.error;
    } else {
      one["unsure"] = row.unsure;
      one["top"] = classes_of(p, classes);
    }
    if (members > 1 && p.error.empty()) {
      one["members_agree"] = p.members_agree;
      one["members_used"] = members;
      one["mutual_information"] = p.mutual_information;
    }
    if (!p.logits.empty()) {
      one["logits"] = p.logits;
    }
    if (!row.sorted.empty()) {
      one["sorted"] = row.sorted.string();
    }
    all.push_back(std::move(one));
  }
  return {{"model", model.string()}, {"classes", classes}, {"predictions", std::move(all)}};
}

/// Flags that a model of one label a picture has, or one of several.
void check_flags(const PredictRequest& r, bool several) {
  const std::string label = several ? "one label" : "several labels";
  const auto refuse = [&](bool is_given, const char* flag) {
    check(!is_given, "predict", flag, " needs a model of ", label, " a picture, got ", several ? "several" : "one", " in ", r.model.string());
  };
  if (several) {
    refuse(r.topk_given, "--topk");
    refuse(r.min_confidence > 0, "--min-confidence");
    refuse(!r.sort_into.empty(), "--sort-into");
  } else {
    refuse(r.threshold_given, "--threshold");
  }
}

// Of several labels a picture: those above the threshold.

std::string labels_table(const std::vector<Row>& rows, const std::vector<std::string>& classes) {
  Table table({{"file", Table::Align::left}, {"labels", Table::Align::left}});
  for (const Row& row : rows) {
    const Prediction& p = row.prediction;
    std::string labels;
    for (size_t i = 0; i < p.classes.size(); ++i) {
      labels += (i == 0 ? "" : ", ") + classes[static_cast<size_t>(p.classes[i])] + " " + format_fixed(100 * p.probabilities[i], 1) + " %";
    }
    table.row({p.file.string(), !p.error.empty() ? p.error : labels.empty() ? "-" : labels});
  }
  return table.text();
}

/// file, error, labels "a;b" as in a list of pictures, their probabilities "0.9;0.7".
std::string labels_csv(const std::vector<Row>& rows, const std::vector<std::string>& classes, bool logits) {
  std::string out = "file,error,labels,probabilities";
  if (logits) out += logit_names(classes);
  out += "\n";
  for (const Row& row : rows) {
    const Prediction& p = row.prediction;
    std::string labels, probabilities;
    for (size_t i = 0; i < p.classes.size(); ++i) {
      labels += (i == 0 ? "" : ";") + classes[static_cast<size_t>(p.classes[i])];
      probabilities += (i == 0 ? "" : ";") + ordered_json(p.probabilities[i]).dump();
    }
    out += csv_cell(p.file.string()) + "," + csv_cell(p.error) + "," + csv_cell(labels) + "," + probabilities;
    if (logits) out += logit_cells(p, classes.size());
    out += "\n";
  }
  return out;
}

ordered_json labels_document(const std::vector<Row>& rows, const std::vector<std::string>& classes, const PredictRequest& request) {
  ordered_json all = ordered_json::array();
  for (const Row& row : rows) {
    const Prediction& p = row.prediction;
    ordered_json one = {{"file", p.file.string()}};
    if (!p.error.empty()) {
      one["error"] = p.error;
    } else {
      one["labels"] = classes_of(p, classes);
    }
    if (!p.logits.empty()) one["logits"] = p.logits;
    all.push_back(std::move(one));
  }
  return {{"model", request.model.string()}, {"classes", classes}, {"threshold", request.options.threshold}, {"predictions", std::move(all)}};
}

}  // namespace

int predict_with_torch(const Session& session, const PredictRequest& request) {
  install_caching_allocator();
  const Predictor predictor(request.model, request.options);
  const std::vector<std::string>& classes = predictor.classes();
  const bool several = predictor.several_labels();
  check_flags(request, several);
  const size_t total = request.files.size();
  const std::vector<Prediction> predictions = predictor.predict(request.files, [&](size_t done) {
    if (session.verbose) {
      session.note(format_count(static_cast<int64_t>(done)) + " of " + format_count(static_cast<int64_t>(total)));
    }
    return session.stop_signal() == 0;
  });

  std::vector<Row> rows;
  size_t bad = 0, unsure = 0, most = 0;
  std::map<std::string, size_t> sorted;
  for (const Prediction& p : predictions) {
    Row row{p, false, {}};
    if (p.error.empty() && p.classes.empty() && !several) {
      continue;  // not reached: stopped
    }
    if (!p.error.empty()) {
      session.warn(p.error.find(p.file.string()) == std::string::npos ? p.file.string() + ": " + p.error : p.error);
      ++bad;
    } else if (!several) {
      row.unsure = p.probabilities[0] < request.min_confidence;
      unsure += row.unsure;
      most = std::max(most, p.classes.size());
    }
    if (!request.sort_into.empty()) {
      const std::string folder = !p.error.empty() ? kUnreadable
          : row.unsure                            ? kUnsure
                                                  : folder_name(classes[static_cast<size_t>(p.classes[0])]);
      row.sorted = copy_into(p.file, request.sort_into / folder);
      ++sorted[folder];
    }
    rows.push_back(std::move(row));
  }
  if (several) {
    session.print(request.format == "csv" ? labels_csv(rows, classes, request.options.logits) : labels_table(rows, classes));
    session.document(labels_document(rows, classes, request));
  } else {
    session.print(request.format == "csv" ? csv_text(rows, classes, most, request.options.logits, predictor.members())
                                          : table_text(rows, classes, predictor.members()));
    session.document(document(rows, classes, request.model, predictor.members()));
  }
  for (const auto& [folder, count] : sorted) {
    session.note((request.sort_into / folder).string() + ": " + format_count(static_cast<int64_t>(count)) + " copied");
  }
  if (request.min_confidence > 0) {
    session.note(format_count(static_cast<int64_t>(unsure)) + " of " + format_count(static_cast<int64_t>(rows.size())) +
                 " below " + format_significant(request.min_confidence, 3) + ": unsure");
  }
  if (session.stop_signal() != 0) {
    return exit_code_of_signal(session.stop_signal());
  }
  return bad > 0 ? kData : kDone;
}

}  // namespace ballast::cli

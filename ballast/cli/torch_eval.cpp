#include "torch_commands.h"

#include <ballast/report/table.h>
#include <ballast/train/allocator.h>
#include <ballast/train/evaluate.h>

#include "torch_run_events.h"

namespace ballast::cli {
namespace {

std::string percent(double share) { return format_fixed(100 * share, 2) + " %"; }

std::string metrics_text(const Metrics& m) {
  return "top1      " + percent(m.top1) + " +- " + format_fixed(100 * m.top1_se, 2) + "\ntop5      " + percent(m.top5) +
      "\nloss      " + format_significant(m.loss, 5) + " +- " + format_significant(m.loss_se, 2) + "\nbalanced  " +
      percent(m.balanced_acc) + "\nbrier     " + format_significant(m.brier, 4) + "\nece       " +
      format_significant(m.ece, 4) + "\ntempered  " + format_significant(m.nll_tempered, 5) + " at temperature " +
      format_significant(m.temperature, 4);
}

std::string label_metrics_text(const Metrics& m) {
  return "map       " + percent(m.map) + "\nmicro F1  " + percent(m.micro_f1) + " at 0.5\nexact     " + percent(m.exact_match) + " +- " +
      format_fixed(100 * m.exact_match_se, 2) + "\nloss      " + format_significant(m.loss, 5) + " +- " +
      format_significant(m.loss_se, 2);
}

nlohmann::ordered_json metrics_json(const Metrics& m) {
  if (m.several_labels) {
    return {{"map", m.map}, {"micro_f1", m.micro_f1}, {"exact_match", m.exact_match}, {"exact_match_se", m.exact_match_se},
            {"loss", m.loss}, {"loss_se", m.loss_se}};
  }
  return {{"top1", m.top1}, {"top1_se", m.top1_se}, {"top5", m.top5}, {"top5_se", m.top5_se},
          {"loss", m.loss}, {"loss_se", m.loss_se}, {"nll_tempered", m.nll_tempered}, {"temperature", m.temperature},
          {"balanced_acc", m.balanced_acc}, {"brier", m.brier}, {"ece", m.ece}};
}

}  // namespace

int eval_with_torch(const Session& session, const EvalRequest& request) {
  using nlohmann::ordered_json;
  install_caching_allocator();
  TerminalEvents events(session, "auto");
  const EvalResult r = evaluate_saved(request.options, events);
  events.finish();
  const Metrics& m = r.metrics;

  std::string text = "model     " + r.model + "\ndata      " + r.data + ", " + r.split + ": " + format_count(m.n) + " pictures" +
      (r.bad_samples > 0 ? ", " + format_count(r.bad_samples) + " unreadable ones left out" : "") + "\n";
  text += m.several_labels ? label_metrics_text(m) : metrics_text(m);
  if (request.options.mc > 0) {
    text += "\npasses    " + format_count(request.options.mc) + ", disagreeing by " +
        format_significant(r.mc.mutual_information, 4) + " nats; variance " + format_significant(r.mc.variance, 4);
  }
  if (r.views > 1) text += "\nviews     " + format_count(r.views) + " a picture, averaged";
  text += "\nspeed     " + format_count(std::llround(r.images_per_second)) +
      " images/s\n\n";
  std::vector<Table::Column> columns = {{"class", Table::Align::left}, {"pictures", Table::Align::right}, {"precision", Table::Align::right},
                                        {"recall", Table::Align::right}, {"F1", Table::Align::right}};
  if (m.several_labels) columns.push_back({"AP", Table::Align::right});
  Table table(columns);
  ordered_json classes = ordered_json::array();
  for (size_t i = 0; i < m.per_class.size(); ++i) {
    const ClassMetrics& c = m.per_class[i];
    const std::string name = i < r.classes.size() ? r.classes[i] : std::to_string(i);
    std::vector<std::string> cells = {name, format_count(c.support), percent(c.precision), percent(c.recall), percent(c.f1)};
    if (m.several_labels) cells.push_back(c.support > 0 ? percent(c.average_precision) : "-");
    table.row(cells);
    classes.push_back({{"class", name}, {"support", c.support}, {"predicted", c.predicted}, {"correct", c.correct},
                       {"precision", c.precision}, {"recall", c.recall}, {"f1", c.f1}});
    if (m.several_labels) classes.back()["average_precision"] = c.support > 0 ? ordered_json(c.average_precision) : ordered_json();
  }
  session.print(text + table.text());
  ordered_json document = {
      {"model", r.model}, {"data", r.data}, {"split", r.split}, {"n", m.n}, {"nonfinite", m.nonfinite},
      {"bad_samples", r.bad_samples},
  };
  document.update(metrics_json(m));
  document["seconds"] = r.seconds;
  document["images_per_second"] = r.images_per_second;
  if (request.options.mc > 0) {
    document["mc"] = {{"passes", request.options.mc}, {"variance", r.mc.variance}, {"mutual_information", r.mc.mutual_information}};
  }
  if (!request.options.tta.empty()) document["tta"] = request.options.tta;
  document["views"] = r.views;
  document["per_class"] = std::move(classes);
  if (!m.several_labels) document["confusion"] = m.confusion;
  session.document(document);
  return session.stop_signal() != 0 ? exit_code_of_signal(session.stop_signal()) : kDone;
}

}  // namespace ballast::cli

#include "torch_commands.h"

#include <ballast/report/table.h>
#include <ballast/train/allocator.h>
#include <ballast/train/evaluate.h>

#include "torch_run_events.h"

namespace ballast::cli {

int eval_with_torch(const Session& session, const EvalRequest& request) {
  using nlohmann::ordered_json;
  install_caching_allocator();
  TerminalEvents events(session, "auto");
  const EvalResult r = evaluate_saved(request.options, events);
  events.finish();
  const Metrics& m = r.metrics;

  const auto percent = [](double share) { return format_fixed(100 * share, 2) + " %"; };
  std::string text = "model     " + r.model + "\ndata      " + r.data + ", " + r.split + ": " + format_count(m.n) + " pictures" +
      (r.bad_samples > 0 ? ", " + format_count(r.bad_samples) + " unreadable ones left out" : "") + "\n";
  text += "top1      " + percent(m.top1) + " +- " + format_fixed(100 * m.top1_se, 2) + "\ntop5      " + percent(m.top5) +
      "\nloss      " + format_significant(m.loss, 5) + " +- " + format_significant(m.loss_se, 2) + "\nbalanced  " +
      percent(m.balanced_acc) + "\nbrier     " + format_significant(m.brier, 4) + "\nece       " +
      format_significant(m.ece, 4) + "\ntempered  " + format_significant(m.nll_tempered, 5) + " at temperature " +
      format_significant(m.temperature, 4);
  if (request.options.mc > 0) {
    text += "\npasses    " + format_count(request.options.mc) + ", disagreeing by " +
        format_significant(r.mc.mutual_information, 4) + " nats; variance " + format_significant(r.mc.variance, 4);
  }
  if (r.views > 1) text += "\nviews     " + format_count(r.views) + " a picture, averaged";
  text += "\nspeed     " + format_count(std::llround(r.images_per_second)) +
      " images/s\n\n";
  Table table({{"class", Table::Align::left}, {"pictures", Table::Align::right}, {"precision", Table::Align::right},
               {"recall", Table::Align::right}, {"F1", Table::Align::right}});
  ordered_json classes = ordered_json::array();
  for (size_t i = 0; i < m.per_class.size(); ++i) {
    const ClassMetrics& c = m.per_class[i];
    const std::string name = i < r.classes.size() ? r.classes[i] : std::to_string(i);
    table.row({name, format_count(c.support), percent(c.precision), percent(c.recall), percent(c.f1)});
    classes.push_back({{"class", name}, {"support", c.support}, {"predicted", c.predicted}, {"correct", c.correct},
                       {"precision", c.precision}, {"recall", c.recall}, {"f1", c.f1}});
  }
  session.print(text + table.text());
  ordered_json document = {
      {"model", r.model}, {"data", r.data}, {"split", r.split}, {"n", m.n}, {"nonfinite", m.nonfinite},
      {"bad_samples", r.bad_samples}, {"top1", m.top1}, {"top1_se", m.top1_se}, {"top5", m.top5}, {"top5_se", m.top5_se},
      {"loss", m.loss}, {"loss_se", m.loss_se}, {"nll_tempered", m.nll_tempered}, {"temperature", m.temperature},
      {"balanced_acc", m.balanced_acc}, {"brier", m.brier}, {"ece", m.ece}, {"seconds", r.seconds},
      {"images_per_second", r.images_per_second},
  };
  if (request.options.mc > 0) {
    document["mc"] = {{"passes", request.options.mc}, {"variance", r.mc.variance}, {"mutual_information", r.mc.mutual_information}};
  }
  if (!request.options.tta.empty()) document["tta"] = request.options.tta;
  document["views"] = r.views;
  document["per_class"] = std::move(classes);
  document["confusion"] = m.confusion;
  session.document(document);
  return session.stop_signal() != 0 ? exit_code_of_signal(session.stop_signal()) : kDone;
}

}  // namespace ballast::cli

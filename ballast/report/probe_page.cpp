#include <ballast/report/probe_page.h>

#include <cmath>

#include <ballast/base/check.h>
#include <ballast/report/html.h>
#include <ballast/report/page_parts.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

std::string share(double v) { return std::isfinite(v) ? format_fixed(100 * v, 1) : "-"; }
std::string number(double v) { return format_significant(v, 3); }

class Page {
 public:
  explicit Page(const ProbePage& page) : page_(page) {}

  std::string make() {
    verdicts();
    depth();
    steps();
    for (size_t i = 0; i < page_.runs.size(); ++i) layers(i);
    return framed_page({.kind = "ballast probe",
                        .tab = page_.model + " - ballast probe",
                        .title = page_.model + (page_.runs.size() == 1 ? ", start " + page_.runs[0].init : ""),
                        .lead = page_.lead,
                        .entries = entries_},
                       h_);
  }

 private:
  void begin(const std::string& id, const std::string& title) {
    entries_.emplace_back(id, title);
    h_.open("section", {{"id", id}, {"aria-labelledby", id + "-h"}}).element("h2", title, {{"id", id + "-h"}});
  }
  void end() { h_.close(); }

  void alert(const std::string& level, const std::string& title, const std::string& text, const std::string& remedy) {
    const bool problem = level == "error" || level == "certain";
    const bool warning = level == "warning";
    h_.open("li", {{"class", std::string("alert ") + (problem ? "problem" : warning ? "warning" : "note")}});
    h_.open("h3")
        .element("span", problem ? "\u2716 Problem" : warning ? "\u25b2 Warning" : level == "healthy" ? "\u2714 Healthy" : "\u25cf Note",
                 {{"class", "tag"}})
        .text(" " + title)
        .close();
    h_.element("p", text);
    if (!remedy.empty()) h_.element("p", remedy, {{"class", "soft"}});
    h_.close();
  }

  void verdicts() {
    begin("verdict", page_.runs.size() > 1 ? "Verdicts" : "Verdict");
    h_.open("ul", {{"class", "alerts"}});
    for (const ProbeRun& run : page_.runs) {
      alert(run.level, run.init + (run.layer.empty() ? "" : ": " + run.verdict + " from " + run.layer + " on"), run.text,
            run.cure.empty() ? "" : "What would cure it: --init " + run.cure);
      if (page_.runs.size() > 1) continue;
      for (size_t i = run.level == "healthy" ? 0 : 1; i < run.findings.size(); ++i) {
        const ProbeFinding& f = run.findings[i];
        alert(f.level, f.name + " at " + f.layer, f.text, "");
      }
    }
    for (const std::string& text : page_.warnings) alert("warning", "order of layers", text, "");
    h_.close();
    h_.open("div", {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", "Starts"}});
    h_.open("table").open("thead").open("tr").element("th", "start", {{"scope", "col"}}).element("th", "verdict", {{"scope", "col"}});
    h_.element("th", "where", {{"scope", "col"}}).element("th", "last signal / first", {{"scope", "col"}, {"class", "n"}});
    h_.element("th", "first gradient / last", {{"scope", "col"}, {"class", "n"}}).element("th", "loss at the start", {{"scope", "col"}, {"class", "n"}});
    h_.close().close().open("tbody");
    for (const ProbeRun& run : page_.runs) {
      const ProbeLayer &a = run.layers.front(), &b = run.layers.back();
      h_.open("tr").element("th", run.init, {{"scope", "row"}}).element("td", run.verdict).element("td", run.layer.empty() ? "-" : run.layer);
      h_.element("td", number(b.signal / a.signal), {{"class", "n"}});
      h_.element("td", number(a.output_gradient / b.output_gradient), {{"class", "n"}});
      h_.element("td", number(run.loss) + (std::isfinite(run.expected_loss) ? " (ln K " + number(run.expected_loss) + ")" : ""), {{"class", "n"}}).close();
    }
    h_.close().close().close();
    end();
  }

  using Field = double ProbeLayer::*;
  void chart(const std::string& id, const std::string& title, const std::string& about, Field field) {
    LineChart c{.id = id, .title = title, .summary = about, .x_title = "layer, in the order of execution", .log = true};
    bool any = false;
    for (size_t i = 0; i < page_.runs.size(); ++i) {
      ChartSeries s{.name = page_.runs[i].init, .points = {}, .style = static_cast<int>(i % 8), .dots = true};
      double x = 0;
      for (const ProbeLayer& layer : page_.runs[i].layers) {
        s.points.push_back({++x, layer.*field});
        any = any || layer.*field > 0;
      }
      c.series.push_back(std::move(s));
    }
    c.x_min = 1;
    if (any) h_.add(line_chart(c));
  }

  void depth() {
    begin("depth", "Against depth");
    h_.open("div", {{"class", "charts"}});
    chart("signal", "Signal", "Standard deviation of the pre-activations across the samples: what a layer still knows of its input. Level is healthy.", &ProbeLayer::signal);
    chart("gradient", "Gradient at the output", "Root mean square of the loss's gradient at each layer's output; it travels from right to left.", &ProbeLayer::output_gradient);
    chart("update", "Update to weight", "lr |g| / |w| at lr 0.01: healthy between 1e-5 and 1e-2.", &ProbeLayer::update);
    chart("he", "Weights over He's", "Standard deviation of the weights over sqrt(2 / fan in).", &ProbeLayer::he_ratio);
    h_.close();
    end();
  }

  void steps() {
    bool any = false;
    for (const ProbeRun& run : page_.runs) any = any || !run.steps.empty();
    if (!any) return;
    begin("steps", "Against time steps");
    h_.open("div", {{"class", "charts"}});
    const auto one = [&](const std::string& id, const std::string& title, const std::string& about, double ProbeStep::*field) {
      LineChart c{.id = id, .title = title, .summary = about, .x_title = "time step", .log = true};
      for (size_t i = 0; i < page_.runs.size(); ++i) {
        ChartSeries s{.name = page_.runs[i].init, .points = {}, .style = static_cast<int>(i % 8), .dots = true};
        for (const ProbeStep& step : page_.runs[i].steps) s.points.push_back({static_cast<double>(step.step + 1), step.*field});
        c.series.push_back(std::move(s));
      }
      h_.add(line_chart(c));
    };
    one("step-signal", "Signal of the hidden state", "Standard deviation across the samples.", &ProbeStep::signal);
    one("step-gradient", "Gradient at the state", "Root mean square; it travels from right to left.", &ProbeStep::gradient);
    one("step-echo", "Echo", "Without input: the difference of two states that differed by 1e-6. Rising means exploding.", &ProbeStep::echo);
    h_.close();
    end();
  }

  void layers(size_t i) {
    const ProbeRun& run = page_.runs[i];
    begin("layers-" + std::to_string(i + 1), page_.runs.size() > 1 ? "Layers, " + run.init : "Layers");
    h_.open("div", {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", "Layers of " + run.init}});
    h_.open("table", {{"class", "sortable"}}).open("thead").open("tr");
    h_.element("th", "layer", {{"scope", "col"}}).element("th", "kind", {{"scope", "col"}});
    for (const char* title : {"fan in", "w / He", "mean", "std", "signal", "zeros %", "saturated %", "grad out", "grad weight", "update", "corr. channels", "corr. samples"}) {
      h_.element("th", title, {{"scope", "col"}, {"class", "n"}});
    }
    h_.element("th", "note", {{"scope", "col"}}).close().close().open("tbody");
    for (const ProbeLayer& l : run.layers) {
      h_.open("tr", {{"class", l.name == run.layer ? "differs" : "plain"}}).element("th", l.name, {{"scope", "row"}, {"class", "mono"}}).element("td", l.kind);
      const auto cell = [&](const std::string& text, double v) {
        if (std::isfinite(v)) {
          h_.element("td", text, {{"class", "n"}, {"data-v", format_significant(v, 6)}});
        } else {
          h_.element("td", "-", {{"class", "n"}});
        }
      };
      cell(number(l.fan_in), l.fan_in);
      for (const double v : {l.he_ratio, l.mean, l.std, l.signal}) cell(number(v), v);
      cell(share(l.zeros), l.zeros);
      cell(share(l.saturated), l.saturated);
      for (const double v : {l.output_gradient, l.weight_gradient, l.update, l.channel_correlation, l.sample_correlation}) cell(number(v), v);
      h_.element("td", l.note, {{"class", "soft"}}).close();
    }
    h_.close().close().close();
    end();
  }

  const ProbePage& page_;
  Html h_;
  PageEntries entries_;
};

}  // namespace

std::string probe_page(const ProbePage& page) {
  check(!page.runs.empty(), "probe_page", "at least one run is required, got none");
  for (const ProbeRun& run : page.runs) check(!run.layers.empty(), "probe_page", "a run must have layers, got none for ", run.init);
  return Page(page).make();
}

}  // namespace ballast

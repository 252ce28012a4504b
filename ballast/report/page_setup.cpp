#include <algorithm>
#include <cmath>
#include <map>

#include <ballast/report/page_sections.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {

void RunSections::config_rows(const std::vector<const ConfigValue*>& values,
                              const std::string& caption) {
  h_.open("table", {{"class", "keys stack wide"}})
      .element("caption", caption, {{"class", caption == "Changed" ? "shown" : "sr"}})
      .open("thead")
      .open("tr");
  for (const char* title : {"key", "value", "origin"}) {
    h_.element("th", title, {{"scope", "col"}});
  }
  h_.close().close().open("tbody");
  for (const ConfigValue* v : values) {
    h_.open("tr")
        .element("th", v->key, {{"scope", "row"}})
        .element("td", v->value, {{"class", "mono"}})
        .element("td", v->origin, {{"class", "soft"}})
        .close();
  }
  h_.close().close();
}

void RunSections::configuration() {
  begin("config", "Configuration");
  std::vector<const ConfigValue*> changed;
  std::vector<const ConfigValue*> chosen;
  std::vector<const ConfigValue*> usual;
  for (const ConfigValue& v : r_.config) {
    if (options_.no_times && depends_on_place(v.key)) {
      continue;
    }
    (v.changed() ? changed : v.origin.starts_with("auto") ? chosen : usual).push_back(&v);
  }
  if (r_.config.empty()) {
    h_.element("p", "config.toml is missing.", {{"class", "none"}});
    end();
    return;
  }
  if (changed.empty()) {
    h_.element("p", "Nothing was changed: every value is a default or was chosen from the data.");
  } else {
    config_rows(changed, "Changed");
  }
  if (!chosen.empty()) {
    h_.open("details", {{"open", ""}})
        .element("summary", "Chosen from the data (" + std::to_string(chosen.size()) + ")");
    config_rows(chosen, "Chosen from the data");
    h_.close();
  }
  if (!usual.empty()) {
    h_.open("details").element("summary", "Defaults (" + std::to_string(usual.size()) + ")");
    config_rows(usual, "Defaults");
    h_.close();
  }
  end();
}

void RunSections::data() {
  begin("data", "Data");
  std::string source = r_.config_text("data.source");
  if (!source.empty()) {
    h_.element("p", "Source: " + source);
  }
  std::map<std::string, std::map<int64_t, int64_t>> counts;
  for (const SplitRow& row : r_.split_rows) {
    std::map<int64_t, int64_t>& part = counts[row.split];
    if (row.labels.empty()) {
      ++part[row.label];
    }
    for (const int32_t label : row.labels) {
      ++part[label];
    }
  }
  if (counts.empty()) {
    h_.element("p", "split.csv is missing, so the parts are not known.", {{"class", "none"}});
  } else {
    std::vector<std::string> parts;
    for (const char* part : {"train", "val", "calib", "test"}) {
      if (counts.contains(part)) {
        parts.emplace_back(part);
      }
    }
    for (const auto& [part, by_class] : counts) {
      if (std::find(parts.begin(), parts.end(), part) == parts.end() && parts.size() < 8) {
        parts.push_back(part);
      }
    }
    h_.open("div", {{"class", "scroll"},
                    {"tabindex", "0"},
                    {"role", "group"},
                    {"aria-label", "Pictures by part and class"}});
    h_.open("table", {{"class", "sortable"}})
        .element("caption", "Pictures by part and class")
        .open("thead")
        .open("tr");
    h_.element("th", "class", {{"scope", "col"}});
    for (const std::string& part : parts) {
      h_.element("th", part, {{"scope", "col"}, {"class", "n"}});
    }
    h_.close().close().open("tbody");
    auto line = [&](const std::string& name, auto&& count) {
      h_.open("tr").element("th", name, {{"scope", "row"}});
      for (const std::string& part : parts) {
        int64_t n = count(part);
        h_.element("td", format_count(n), {{"class", "n"}, {"data-v", std::to_string(n)}});
      }
      h_.close();
    };
    line("all", [&](const std::string& part) { return r_.split_sizes.at(part); });
    for (size_t k = 0; k < std::min<size_t>(names_.size(), 200); ++k) {
      line(names_[k], [&](const std::string& part) {
        auto it = counts[part].find(static_cast<int64_t>(k));
        return it == counts[part].end() ? int64_t{0} : it->second;
      });
    }
    h_.close().close().close();
  }
  h_.element(sub(), "Unreadable samples");
  if (r_.bad_samples.empty()) {
    h_.element("p", "None.");
  } else {
    h_.open("table", {{"class", "keys"}})
        .open("thead")
        .open("tr")
        .element("th", "file", {{"scope", "col"}})
        .element("th", "reason", {{"scope", "col"}})
        .close()
        .close();
    h_.open("tbody");
    for (size_t i = 0; i < std::min<size_t>(r_.bad_samples.size(), 100); ++i) {
      h_.open("tr")
          .element("th", r_.bad_samples[i].path, {{"scope", "row"}})
          .element("td", r_.bad_samples[i].reason)
          .close();
    }
    h_.close().close();
    if (r_.bad_samples.size() > 100) {
      h_.element("p", "and " + format_count(static_cast<int64_t>(r_.bad_samples.size()) - 100) +
                          " more in bad_samples.csv.");
    }
  }
  end();
}

void RunSections::time() {
  begin("time", "Time and memory");
  if (r_.timing.empty()) {
    h_.element("p", "timing.jsonl is missing or empty.", {{"class", "none"}});
    end();
    return;
  }
  std::vector<std::pair<std::string, double TimingRow::*>> parts = {
      {"waiting for data", &TimingRow::data},
      {"forward", &TimingRow::forward},
      {"backward", &TimingRow::backward},
      {"optimizer", &TimingRow::optimizer},
      {"reduce", &TimingRow::reduce},
      {"checks", &TimingRow::check},
      {"saving", &TimingRow::save}};
  double total = total_seconds(r_);
  std::vector<BarRow> bars;
  for (const auto& [name, field] : parts) {
    double sum = 0;
    for (const TimingRow& t : r_.timing) {
      sum += std::isfinite(t.*field) ? t.*field : 0;
    }
    if (sum > 0) {
      bars.push_back(
          {name, sum,
           format_duration(sum) + (total > 0 ? " (" + percent_text(sum / total, 0) + ")" : "")});
    }
  }
  double rss = 0;
  for (const TimingRow& t : r_.timing) {
    rss = std::max(rss, std::isfinite(t.rss) ? t.rss : 0);
  }
  h_.add(bar_chart("Where " + format_duration(total) + " went", bars));
  if (rss > 0) {
    h_.element("p", "Most memory in use: " + format_bytes(rss) + ".");
  }
  LineChart c{.id = prefix_ + "rate", .title = "Images per second"};
  ChartSeries s{.name = "training", .points = {}, .style = 0};
  for (const TimingRow& t : r_.timing) {
    if (std::isfinite(t.images_per_second)) {
      s.points.push_back({epoch_of_step(r_, t.step), t.images_per_second});
    }
  }
  if (s.points.size() > 1) {
    c.summary = trend(s, false);
    c.series = {std::move(s)};
    c.from_zero = true;
    c.x_title = steps_are_epochs(r_) ? "epoch" : "step";
    h_.open("div", {{"class", "charts"}}).add(line_chart(c)).close();
  }
  end();
}

void RunSections::provenance() {
  begin("provenance", "Provenance");
  std::vector<std::pair<std::string, std::string>> facts;
  auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) {
      facts.emplace_back(name, value);
    }
  };
  add("ballast", r_.facts.version);
  add("seed", r_.facts.seed ? std::to_string(*r_.facts.seed) : "");
  add("fingerprint", r_.facts.fingerprint);
  add("configuration digest", r_.facts.config_digest);
  for (const auto& [key, value] : r_.env) {
    if (key != "command" && !(options_.no_times && depends_on_place(key))) {
      facts.emplace_back(key, value);
    }
  }
  if (!facts.empty()) {
    h_.open("table", {{"class", "keys stack"}})
        .element("caption", "What the result depends on")
        .open("tbody");
    for (const auto& [name, value] : facts) {
      h_.open("tr").element("th", name, {{"scope", "row"}}).open("td");
      if (value.size() > 300) {
        h_.open("details").element("summary", "show").element("span", value).close();
      } else {
        h_.text(value);
      }
      h_.close().close();
    }
    h_.close().close();
  }
  auto list = [&](const char* title, const std::vector<std::string>& items) {
    if (items.empty()) {
      return;
    }
    h_.element(sub(), title).open("ul");
    for (const std::string& item : items) {
      h_.element("li", item);
    }
    h_.close();
  };
  list("Not found in the run folder", r_.missing);
  list("Could not be read", r_.problems);
  end();
}

}  // namespace ballast

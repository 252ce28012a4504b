#include <algorithm>
#include <cmath>

#include <ballast/report/page_sections.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

// "3 times", "once".
std::string times_text(int64_t n) {
  return n == 1 ? "once" : std::to_string(n) + " times";
}

}  // namespace

// How the run came about: starts, resumes, edits, rollbacks and signals one by one, the many saves as one line.
void RunSections::history() {
  if (r_.events.empty()) {
    return;
  }
  begin("history", "History and checkpoints");
  int64_t saves = 0;
  int64_t resumes = 0;
  int64_t edits = 0;
  const EventRow* last_save = nullptr;
  std::vector<const EventRow*> others;
  for (const EventRow& e : r_.events) {
    if (e.kind == "save") {
      ++saves;
      last_save = &e;
    } else {
      resumes += e.kind == "resume" ? 1 : 0;
      edits += e.kind == "edit" ? 1 : 0;
      others.push_back(&e);
    }
  }
  double seconds = 0;
  for (const TimingRow& t : r_.timing) {
    seconds += std::isfinite(t.save) ? t.save : 0;
  }
  std::string went = "The run went through without an interruption.";
  if (resumes > 0) {
    went = "The run was continued " + times_text(resumes) +
           " from a checkpoint. Each step counts once: what had been done beyond the checkpoint was "
           "done again.";
    went += edits > 0 ? " Its configuration was changed on the way, see the events."
                      : " Its values are those of a run that was never stopped.";
  }
  h_.element("p", went);
  if (last_save) {
    h_.element("p", "Saved " + times_text(saves) + ", the last " +
                        (last_save->step >= 0 ? "at step " + format_count(last_save->step) + " " : "") +
                        "(" + last_save->text + ")" +
                        (seconds > 0 ? "; saving took " + format_duration(seconds) + " in all" : "") +
                        ".");
  } else {
    h_.element("p", "No checkpoint was saved.");
  }
  if (resumes > 0) {
    h_.open("details", {{"open", ""}});
  } else {
    h_.open("details");
  }
  h_.element("summary", "Events (" + std::to_string(others.size()) + ")");
  h_.open("table", {{"class", "keys stack"}}).open("thead").open("tr");
  for (const char* title : {"event", "when", "step", "what"}) {
    h_.element("th", title, {{"scope", "col"}});
  }
  h_.close().close().open("tbody");
  size_t shown = std::min<size_t>(others.size(), 200);
  for (size_t i = 0; i < shown; ++i) {
    const EventRow& e = *others[i];
    h_.open("tr")
        .element("th", e.kind, {{"scope", "row"}})
        .element("td", e.time)
        .element("td", e.step >= 0 ? format_count(e.step) : "")
        .element("td", e.text)
        .close();
  }
  h_.close().close();
  if (others.size() > shown) {
    h_.element("p", "and " + format_count(static_cast<int64_t>(others.size() - shown)) +
                        " more in events.jsonl.");
  }
  h_.close();
  end();
}

}  // namespace ballast

#include <ballast/augment/crop_views.h>

#include <algorithm>
#include <string>

#include <ballast/augment/pipeline_text.h>
#include <ballast/base/check.h>

namespace ballast {
namespace {

Pipeline made_of(const std::vector<detail::Step>& steps, const Pipeline& like) {
  Pipeline out = Pipeline::parse(detail::print_steps(steps));
  out.set_normalize(like.normalize());
  return out;
}

}  // namespace

std::vector<Pipeline> crop_views(const Pipeline& pipeline) {
  std::vector<detail::Step> steps = detail::parse_steps(pipeline.text());
  const auto at = std::ranges::find_if(steps, [](const detail::Step& s) { return detail::makes_views(s); });
  if (at == steps.end()) return {pipeline};
  std::vector<Pipeline> out;
  const auto names = detail::words_of(at->op->args[1].choices);
  for (size_t v = 1; v < names.size(); ++v) {
    at->values[1] = {.numbers = {static_cast<double>(v)}, .word = std::string(names[v]), .given = true};
    out.push_back(made_of(steps, pipeline));
  }
  return out;
}

Pipeline with_crops(const Pipeline& pipeline, std::string_view name) {
  std::vector<detail::Step> steps = detail::parse_steps(pipeline.text());
  for (detail::Step& s : steps) {
    if (s.op->name != "center_crop" && s.op->name != "five_crop" && s.op->name != "ten_crop") continue;
    s.op = &detail::operation(name);
    s.values = {s.values[0], {}};
    return made_of(steps, pipeline);
  }
  fail(name, "needs a center_crop, whose place it takes, got \"", pipeline.text(), '"');
}

}  // namespace ballast

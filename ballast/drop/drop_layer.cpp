#include <ballast/drop/drop_layer.h>

#include <atomic>
#include <utility>

#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/base/glob.h>
#include <ballast/base/step_scope.h>

namespace ballast {
namespace {

std::atomic<uint64_t> constructed{0};
thread_local const RowsScope* innermost = nullptr;

template <class Use>
void for_layers(torch::nn::Module& model, const Use& use) {
  for (const auto& item : model.named_modules()) {
    if (auto* layer = dynamic_cast<DropLayer*>(item.value().get())) use(item.key(), *layer);
  }
}

}  // namespace

RowsScope::RowsScope(std::vector<int64_t> rows) : rows_(std::move(rows)), outer_(innermost) { innermost = this; }
RowsScope::~RowsScope() { innermost = outer_; }
const std::vector<int64_t>* RowsScope::current() { return innermost == nullptr ? nullptr : &innermost->rows_; }

DropLayer::DropLayer() : name_('#' + std::to_string(constructed++)) {}

DropLayer::Draw DropLayer::next_draw(Key own) {
  const StepScope* scope = StepScope::current();
  if (scope == nullptr) {
    return {own.fold_in("drop").fold_in(stem()).fold_in(name_).fold_in(count_++), 0, RowsScope::current()};
  }
  if (scope->serial() != scope_) {
    scope_ = scope->serial();
    call_ = 0;
  }
  return {scope->key().fold_in("drop").fold_in(stem()).fold_in(name_).fold_in(scope->step()).fold_in(call_++),
          scope->first_row(), RowsScope::current()};
}

void name_layers(torch::nn::Module& model) {
  for_layers(model, [](const std::string& name, DropLayer& layer) { layer.set_layer_name(name); });
}

int64_t set_drop_rate(torch::nn::Module& model, std::string_view stem, double p) {
  int64_t count = 0;
  for_layers(model, [&](const std::string&, DropLayer& layer) {
    if (!stem.empty() && layer.stem() != stem) return;
    layer.set_drop_rate(p);
    ++count;
  });
  return count;
}

int64_t set_drop_rate_at(torch::nn::Module& model, std::string_view glob, double p) {
  int64_t count = 0;
  std::string names;
  for_layers(model, [&](const std::string& name, DropLayer& layer) {
    names += (names.empty() ? "; there are " : ", ") + name;
    if (!glob_matches(glob, name)) return;
    layer.set_drop_rate(p);
    ++count;
  });
  check(count > 0, "drop_rate", glob, " must match a layer that drops, got none", names);
  return count;
}

}  // namespace ballast

#include <ballast/init/fixup.h>

#include <ostream>

namespace ballast {

void ScalarBiasImpl::pretty_print(std::ostream& stream) const {
  stream << "ScalarBias()";
}

RecipeReport fixup_(torch::nn::Module& model, Key key) {
  return init_model(model, {.recipe = "fixup", .key = key});
}

}  // namespace ballast

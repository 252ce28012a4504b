// The side of ballast in weights.py.
//
//   ballast_interop save FOLDER NAME CHANNELS HEIGHT WIDTH CLASSES   a model folder, and in it io.safetensors {x, logits}
//   ballast_interop export FOLDER NAME CHANNELS HEIGHT WIDTH CLASSES [NORM [ACT]]
//                                                                    the same, and model.ts and model.onnx
//   ballast_interop logits FOLDER                                    reads x of io.safetensors there, writes logits.safetensors
//   ballast_interop take FILE FOLDER NAME CHANNELS HEIGHT WIDTH CLASSES
//                                                                    a new model with the weights of FILE, its input adapted;
//                                                                    x and logits in FOLDER as above
//   ballast_interop convert IN OUT                                   weights from one format to another

#include <torch/nn/module.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <ballast/init/normal.h>
#include <ballast/init/uniform.h>
#include <ballast/train/export_onnx.h>
#include <ballast/train/export_torchscript.h>
#include <ballast/weights/load_weights.h>
#include <ballast/weights/model_folder.h>
#include <ballast/weights/weights_file.h>

namespace {

using namespace ballast;

// Every parameter and buffer other than at its start: norms, zeros of recipes, running statistics.
void disturb(Model& model) {
  for (auto& [name, tensor] : state_dict(model)) {
    if (!tensor.is_floating_point()) {
      tensor.fill_(7);
    } else if (tensor.dim() == 1) {
      uniform_(tensor, 0.5, 1.5, Key(1).fold_in(name));
    } else if (tensor.abs().max().item<float>() == 0) {
      normal_(tensor, 0, 0.05, Key(1).fold_in(name));
    }
  }
}

int write_exports(const std::string& folder, const std::vector<std::string>& args) {
  const auto number = [&](size_t i) { return std::stoll(args[i]); };
  const auto model = make_model({.name = args[0], .in_channels = number(1), .height = number(2), .width = number(3),
                                 .num_classes = number(4), .norm = args.size() > 5 ? args[5] : "auto", .act = args.size() > 6 ? args[6] : "auto"},
                                Key(1));
  disturb(*model);
  model->eval();
  torch::NoGradGuard no_grad;
  const torch::Tensor x = normal_(torch::empty({3, number(1), number(2), number(3)}), 0, 1, Key(2));
  const torch::Tensor logits = model->forward(x.clone());
  write_weights(real_fs(), folder + "/io.safetensors", {{"x", x}, {"logits", logits}});
  const ModelProgram program =
      record_program(*model, [&](const torch::Tensor& in) { return model->forward(in); }, {number(1), number(2), number(3)});
  std::cout << write_torchscript(real_fs(), folder + "/model.ts", program, x, logits) << "\n";
  write_onnx(real_fs(), folder + "/model.onnx", program, args[0]);
  return 0;
}

int save(char** args) {
  const std::string folder = args[0];
  const auto number = [&](int i) { return std::atoll(args[i]); };
  const auto model = make_model({.name = args[1],
                                 .in_channels = number(2),
                                 .height = number(3),
                                 .width = number(4),
                                 .num_classes = number(5)},
                                Key(1));
  disturb(*model);
  model->eval();
  ModelCard card;
  for (int64_t i = 0; i < number(5); ++i) card.label_names.push_back("class " + std::to_string(i));
  card.mean.assign(static_cast<size_t>(number(2)), 0.5);
  card.std.assign(static_cast<size_t>(number(2)), 0.25);
  save_model_folder(real_fs(), folder, *model, card);
  torch::NoGradGuard no_grad;
  const torch::Tensor x = normal_(torch::empty({3, number(2), number(3), number(4)}), 0, 1, Key(2));
  write_weights(real_fs(), folder + "/io.safetensors", {{"x", x}, {"logits", model->forward(x)}});
  return 0;
}

int logits(char** args) {
  const std::string folder = args[0];
  torch::NoGradGuard no_grad;
  const ModelFolder opened = load_model_folder(folder);
  const torch::Tensor x = read_weights(folder + "/io.safetensors").at("x");
  write_weights(real_fs(), folder + "/logits.safetensors", {{"logits", opened.model->forward(x)}});
  return 0;
}

int take(char** args) {
  const std::string folder = args[1];
  const auto number = [&](int i) { return std::atoll(args[i]); };
  const auto model = make_model({.name = args[2],
                                 .in_channels = number(3),
                                 .height = number(4),
                                 .width = number(5),
                                 .num_classes = number(6)},
                                Key(3));
  const LoadReport report = load_weights(*model, open_weights(args[0]).state, {.input = InputPolicy::adapt});
  std::cout << report.loaded << " loaded, " << report.names(LoadAction::adapted).size() << " adapted\n";
  model->eval();
  torch::NoGradGuard no_grad;
  const torch::Tensor x = read_weights(folder + "/io.safetensors").at("x");
  write_weights(real_fs(), folder + "/logits.safetensors", {{"logits", model->forward(x)}});
  return 0;
}

int convert(char** args) {
  save_weights_file(real_fs(), args[1], open_weights(args[0]).state);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string command = argc > 1 ? argv[1] : "";
    if (command == "save" && argc == 8) return save(argv + 2);
    if (command == "export" && argc >= 8) return write_exports(argv[2], {argv + 3, argv + argc});
    if (command == "logits" && argc == 3) return logits(argv + 2);
    if (command == "take" && argc == 9) return take(argv + 2);
    if (command == "convert" && argc == 4) return convert(argv + 2);
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  std::cerr << "ballast_interop save FOLDER NAME CHANNELS HEIGHT WIDTH CLASSES | logits FOLDER |\n"
               "take FILE FOLDER NAME CHANNELS HEIGHT WIDTH CLASSES | convert IN OUT\n";
  return 2;
}

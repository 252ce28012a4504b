#include <ballast/train/export_onnx.h>
#include <ballast/train/export_torchscript.h>

#include <gtest/gtest.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/rnn.h>
#include <torch/script.h>

#include <ballast/init/normal.h>
#include <ballast/io/test_folder.h>
#include <ballast/models/catalog.h>
#include <ballast/models/model.h>
#include <ballast/weights/state_dict.h>

namespace ballast {
namespace {

struct Case {
  const char* name;
  int64_t channels, side;
  const char* norm;
};

std::shared_ptr<Model> trained(const Case& c) {
  const auto model = make_model({.name = c.name, .in_channels = c.channels, .height = c.side, .width = c.side, .num_classes = 5, .norm = c.norm},
                                Key(1));
  // As if it had been trained: no parameter or statistic at its start.
  torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : state_dict(*model)) {
    if (tensor.is_floating_point()) {
      tensor.add_(normal_(torch::empty_like(tensor), 0, tensor.dim() > 1 ? 0.02 : 0.1, Key(4).fold_in(name)).abs_());
    }
  }
  model->eval();
  return model;
}

ModelProgram program_of(Model& model) {
  const ModelOptions& o = model.options();
  return record_program(model, [&model](const torch::Tensor& x) { return model.forward(x); }, {o.in_channels, o.height, o.width});
}

TEST(Export, TorchScriptGivesTheSameForAnyNumberOfSamples) {
  const TestFolder folder;
  for (const Case& c : {Case{"mlp:2x16", 1, 12, "auto"}, {"lenet", 1, 28, "auto"}, {"plain_cnn:3x4", 3, 12, "auto"},
                        {"resnet8", 3, 16, "auto"}, {"resnet8_wide", 1, 28, "auto"}, {"resnet18", 3, 64, "auto"},
                        {"resnet8", 3, 16, "group:4"}, {"resnet8", 3, 16, "none"}, {"resnet8", 3, 16, "layer_2d"}, {"resnet8", 3, 16, "rms"},
                        {"resnet8", 3, 16, "instance"}, {"resnet8", 3, 16, "frn"}, {"resnet8", 3, 16, "evo_s0"}, {"resnet8", 3, 16, "weight"},
                        {"vit_tiny", 3, 32, "auto"}, {"rnn:plain:12", 1, 9, "auto"}, {"rnn:lstm:12", 3, 9, "auto"}, {"rnn:gru:12", 1, 9, "layer"}}) {
    const auto model = trained(c);
    const ModelProgram program = program_of(*model);
    torch::NoGradGuard no_grad;
    for (const int64_t n : {1, 3}) {
      const torch::Tensor x = normal_(torch::empty({n, c.channels, c.side, c.side}), 0, 1, Key(2));
      const torch::Tensor y = model->forward(x.clone());
      const double most = 1e-4 * std::max(1.0, y.abs().max().item<double>());
      EXPECT_LE(write_torchscript(real_fs(), folder / "model.ts", program, x, y), most) << c.name << " " << n;
    }
  }
}

TEST(Export, TorchScriptKeepsTheNamesOfTheStateDict) {
  const TestFolder folder;
  const auto model = trained({"resnet8", 3, 16, "auto"});
  torch::NoGradGuard no_grad;
  const torch::Tensor x = torch::zeros({2, 3, 16, 16});
  write_torchscript(real_fs(), folder / "model.ts", program_of(*model), x, model->forward(x.clone()));
  const torch::jit::Module script = torch::jit::load((folder / "model.ts").string());
  int64_t parameters = 0;
  const StateDict state = state_dict(*model);
  for (const auto& p : script.named_parameters()) {
    ASSERT_TRUE(state.contains(p.name)) << p.name;
    EXPECT_TRUE(state.at(p.name).equal(p.value)) << p.name;
    ++parameters;
  }
  EXPECT_EQ(parameters, static_cast<int64_t>(model->named_parameters().size()));
}

TEST(Export, ARecordingLeavesTheModelAsItWas) {
  const auto model = trained({"resnet8", 3, 16, "auto"});
  model->train();
  const StateDict before = state_dict(*model);
  std::map<std::string, torch::Tensor> copy;
  for (const auto& [name, tensor] : before) copy.emplace(name, tensor.clone());
  program_of(*model);
  EXPECT_TRUE(model->is_training());
  for (const auto& [name, tensor] : state_dict(*model)) EXPECT_TRUE(tensor.equal(copy.at(name))) << name;
}

TEST(Export, EveryModelOfTheCatalogIsWrittenInBothFormats) {
  const TestFolder folder;
  const torch::NoGradGuard no_grad;
  for (const ModelRow& row : kModels) {
    const std::string name = std::string(row.name) + (row.size.starts_with('x') ? ":14" : "");
    const auto model = trained({name.c_str(), 3, 32, "auto"});
    const ModelProgram program = program_of(*model);
    const torch::Tensor x = normal_(torch::empty({3, 3, 32, 32}), 0, 1, Key(2));
    const torch::Tensor y = model->forward(x.clone());
    EXPECT_LE(write_torchscript(real_fs(), folder / "model.ts", program, x, y), 1e-4 * std::max(1.0, y.abs().max().item<double>())) << name;
    write_onnx(real_fs(), folder / "model.onnx", program, name);
    // Each weight once.
    int64_t bytes = 0;
    for (const auto& p : model->named_parameters()) bytes += static_cast<int64_t>(p.value().nbytes());
    const auto size = static_cast<int64_t>(std::filesystem::file_size(folder / "model.onnx"));
    EXPECT_GE(size, bytes) << name;
    EXPECT_LE(size, bytes + bytes / 20 + 200'000) << name;
  }
}

TEST(Export, KnowsWhichResultsDoNotDependOnTheInput) {
  const auto model = trained({"resnet8", 3, 16, "weight"});
  const ModelProgram program = program_of(*model);
  int64_t constants = 0;
  for (const ProgramOp& op : program.ops) {
    const bool layer = op.name == "aten::conv2d" || op.name == "aten::linear";
    EXPECT_FALSE(layer && !op.values.empty()) << op.name;
    constants += !op.values.empty();
  }
  EXPECT_GT(constants, 0);
  EXPECT_TRUE(program.ops.back().values.empty());
}

// A net of another's making.
template <class Forward>
void refused_as_onnx(torch::nn::Module& net, const Forward& forward, const std::string& message) {
  const TestFolder folder;
  const ModelProgram program = record_program(net, forward, {3, 4});
  try {
    write_onnx(real_fs(), folder / "model.onnx", program, "net");
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_EQ(std::string(e.what()), message);
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "model.onnx"));
}

TEST(Export, NamesTheOperatorThatHasNoCounterpart) {
  torch::nn::Module net;
  refused_as_onnx(net, [](const torch::Tensor& x) { return at::erfinv(x); }, "[export] operator aten::erfinv cannot be written as ONNX");
}

TEST(Export, RecurrentLayersOfOthersAreTorchScriptAndInOnnxOneByOne) {
  torch::nn::LSTM two(torch::nn::LSTMOptions(4, 5).num_layers(2).bidirectional(true).batch_first(true));
  const auto forward = [&](const torch::Tensor& x) { return std::get<0>(two->forward(x)).select(1, 2).clone(); };
  const torch::NoGradGuard no_grad;
  two->eval();
  const torch::Tensor x = normal_(torch::empty({4, 3, 4}), 0, 1, Key(2));
  EXPECT_LE((run_program(record_program(*two, forward, {3, 4}), x) - forward(x)).abs().max().item<double>(), 1e-6);
  refused_as_onnx(*two, forward,
          "[export] operator aten::lstm must have biases, one layer and one direction in ONNX, got 2 layers with 16 weights");
}

}  // namespace
}  // namespace ballast

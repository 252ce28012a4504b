#include "torch_commands.h"

#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/models/model.h>
#include <ballast/report/table.h>
#include <ballast/train/ensemble_model.h>
#include <ballast/train/export_ensemble.h>
#include <ballast/train/export_onnx.h>
#include <ballast/train/export_torchscript.h>
#include <ballast/train/saved_model.h>
#include <ballast/weights/state_dict.h>
#include <ballast/weights/weights_file.h>

namespace ballast::cli {
namespace {

double largest_difference(const torch::Tensor& a, const torch::Tensor& b) { return (a - b).abs().max().item<double>(); }

}  // namespace

namespace {

int export_ensemble(const Session& session, const ExportRequest& request) {
  check(request.format == "torchscript", "export", "an ensemble is written as torchscript, got ",
        request.format);
  const torch::NoGradGuard no_grad;
  const Ensemble ensemble = load_ensemble(request.run, {.device = "cpu"});
  const NetInput& in = ensemble.inputs()[0];
  const torch::Tensor x = torch::rand({16, in.channels, in.height, in.width});
  const double difference = write_ensemble_torchscript(real_fs(), request.out, ensemble, x);
  check<std::runtime_error>(difference <= 1e-5, "export", request.out.string(),
                            " must give what the ensemble gives, its probabilities differ by ",
                            difference);
  session.print("wrote     " + request.out.string() + ": " + format_count(ensemble.members()) +
                " members and " +
                (ensemble.rule().stack ? "stacking" : std::string(to_string(ensemble.rule().rule))) +
                "\nchecked   probabilities differ by at most " + format_significant(difference, 3) + "\n");
  session.document({{"out", request.out.string()},
                    {"format", request.format},
                    {"difference", difference},
                    {"members", ensemble.members()},
                    {"pipeline", in.pipeline},
                    {"input", {in.channels, in.height, in.width}},
                    {"classes", ensemble.classes()}});
  return kDone;
}

}  // namespace

int export_with_torch(const Session& session, const ExportRequest& request) {
  if (is_ensemble_folder(request.run)) return export_ensemble(session, request);
  const SavedModel saved = load_saved_model(request.run);
  Model& model = *saved.model;
  const ModelOptions& o = model.options();
  const torch::NoGradGuard no_grad;
  // Another number of samples than any that the recording saw.
  const torch::Tensor x = torch::randn({3, o.in_channels, o.height, o.width});
  const torch::Tensor expected = model.forward(x.clone());
  double difference = 0;
  std::string about;
  if (request.format == "torchscript" || request.format == "onnx") {
    const ModelProgram program =
        record_program(model, [&model](const torch::Tensor& in) { return model.forward(in); }, {o.in_channels, o.height, o.width});
    if (request.format == "torchscript") {
      difference = write_torchscript(real_fs(), request.out, program, x, expected);
    } else {
      difference = (run_program(program, x) - expected).abs().max().item<double>();
      write_onnx(real_fs(), request.out, program, o.name);
    }
    about = format_count(static_cast<int64_t>(program.ops.size())) + " operators, " + format_count(static_cast<int64_t>(program.tensors.size())) +
        " tensors";
  } else if (request.format == "pt") {
    const StateDict state = state_dict(model);
    save_weights_file(real_fs(), request.out, state);
    const std::shared_ptr<Model> again = make_model_to_load(o);
    copy_into(*again, open_weights(request.out).state, request.out.string());
    again->eval();
    difference = largest_difference(again->forward(x.clone()), expected);
    about = format_count(static_cast<int64_t>(state.size())) + " tensors";
  } else {
    save_model(real_fs(), request.out, model, saved.info);
    const SavedModel again = load_saved_model(request.out);
    difference = largest_difference(again.model->forward(x.clone()), expected);
    about = "model.safetensors and config.json";
  }
  const double scale = std::max(1.0, expected.abs().max().item<double>());
  check<std::runtime_error>(difference <= 1e-4 * scale, "export", request.out.string(), " must give what the model gives, its outputs differ by ",
                            difference);
  session.print("wrote     " + request.out.string() + ": " + about + "\nchecked   outputs differ by at most " +
                format_significant(difference, 3) + " (outputs up to " + format_significant(scale, 3) + ")\n");
  session.document({{"out", request.out.string()}, {"format", request.format}, {"difference", difference},
                    {"input", {o.in_channels, o.height, o.width}}, {"classes", o.num_classes}});
  return kDone;
}

}  // namespace ballast::cli

#include <filesystem>

#include <ballast/base/check.h>
#include <ballast/train/ensemble_file.h>

#include "command.h"
#include "find_run.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct ExportFlags {
  std::string format = "torchscript";
  bool overwrite = false;
};
template <class Visitor>
void describe(Visitor& visit, ExportFlags& o) {
  visit("format", o.format, {.help = "torchscript: a module that runs without ballast; onnx: opset 17, IR 8; pt: a state dict for torch.load(weights_only=True); timm: a "
                                     "folder for timm.create_model(\"local-dir:OUT\")",
                             .flags = "--format", .choices = "torchscript onnx pt timm"});
  visit("overwrite", o.overwrite, {.help = "replace OUT if it is there", .flags = "--overwrite"});
}

class ExportCommand : public Command {
 public:
  ExportCommand() { own_.add("export", flags_); }
  CommandText text() const override {
    return {
        .name = "export",
        .summary = "a model for other programs: TorchScript, ONNX, a state dict, a timm folder; checked number by number",
        .operands = "RUN OUT",
        .about = "RUN is a run (its folder or its name in runs/), a model folder or an ensemble. What was written is opened again and its outputs are compared with "
                 "the model's on random pictures; the largest difference is printed, and one above 1e-4 of the largest output is an "
                 "error.\n"
                 "\n"
                 "Of ONNX the operators are checked the same way before they are written; the file itself is for your runtime to open.\n"
                 "\n"
                 "An ensemble becomes one TorchScript file that holds all members and the rule. It takes pictures with values in [0, 1], of the members' "
                 "size, normalizes them itself and gives the ensemble's probabilities, to 1e-5.\n"
                 "\n"
                 "A TorchScript or ONNX module takes normalized pictures (N, C, H, W), N any number, and gives logits; it needs nothing of "
                 "ballast. `ballast convert` changes the format of weights alone.",
        .examples =
            {
                {"for C++ or Python without ballast", "ballast export runs/photos-resnet18-1 photos.ts"},
                {"an ensemble as one file", "ballast export runs/ens ens.ts"},
                {"for ONNX Runtime", "ballast export runs/photos-resnet18-1 photos.onnx --format onnx"},
                {"weights for PyTorch", "ballast export runs/photos-resnet18-1 photos.pt --format pt"},
                {"for timm.create_model(\"local-dir:photos-timm\", pretrained=True)",
                 "ballast export runs/photos-resnet18-1 photos-timm --format timm"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 2}; }
  int run(const Session& session, const Arguments& arguments) override {
    std::error_code error;
    const std::filesystem::path given = arguments.operands[0], out = arguments.operands[1];
    const bool folder = std::filesystem::exists(given / "config.json", error) || is_ensemble_folder(given);
    if (std::filesystem::exists(out, error) && !flags_.overwrite) {
      usage_error(out.string() + " is there already: --overwrite replaces it");
    }
    return load_torch_side(0).export_model(session, {.run = folder ? given : find_run(given.string()), .out = out, .format = flags_.format,
                                                     .overwrite = flags_.overwrite});
  }

 private:
  ExportFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_export_command() { return std::make_unique<ExportCommand>(); }

}  // namespace ballast::cli

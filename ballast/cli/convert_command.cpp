#include <filesystem>

#include <ballast/base/check.h>

#include "command.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct ConvertFlags {
  bool half = false;
  bool bf16 = false;
  std::string strip_prefix;
  bool overwrite = false;
};
template <class Visitor>
void describe(Visitor& visit, ConvertFlags& o) {
  visit("half", o.half, {.help = "write floating point numbers as float16; those beyond its range are named", .flags = "--half"});
  visit("bf16", o.bf16, {.help = "write floating point numbers as bfloat16", .flags = "--bf16"});
  visit("strip_prefix", o.strip_prefix, {.help = "take this off the names that begin with it; auto: module., _orig_mod., model., "
                                                 "backbone., where every name has it",
                                         .flags = "--strip-prefix", .value_name = "TEXT"});
  visit("overwrite", o.overwrite, {.help = "replace OUT if it is there", .flags = "--overwrite"});
}

class ConvertCommand : public Command {
 public:
  ConvertCommand() { own_.add("convert", flags_); }
  CommandText text() const override {
    return {
        .name = "convert",
        .summary = "weights from one format to another: safetensors, .pt, TorchScript",
        .operands = "IN OUT",
        .about = "IN is told by its content: .safetensors, .pt of torch.save, a TorchScript module, a run or a model folder. "
                 "OUT is written in the format that its end says: .safetensors, or .pt, .pth, .bin, which "
                 "torch.load(weights_only=True) opens.\n"
                 "\n"
                 "Of a checkpoint only the state dict is kept (state_dict_ema, model_ema, state_dict, model; an average "
                 "before the raw weights); what is left out is named. Nothing in a .pt file is run.",
        .examples =
            {
                {"a checkpoint of PyTorch as safetensors", "ballast convert checkpoint.pth weights.safetensors"},
                {"a run's model for PyTorch, half the size", "ballast convert runs/photos-resnet18-1 photos.pt --half"},
                {"names without what DataParallel put before them",
                 "ballast convert ddp.pt plain.safetensors --strip-prefix module."},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 2}; }
  int run(const Session& session, const Arguments& arguments) override {
    ConvertRequest request{.in = arguments.operands[0],
                           .out = arguments.operands[1],
                           .half = flags_.half ? "f16" : flags_.bf16 ? "bf16" : "",
                           .strip_prefix = flags_.strip_prefix,
                           .overwrite = flags_.overwrite};
    if (flags_.half && flags_.bf16) {
      usage_error("--half and --bf16 name two types: give one of them");
    }
    const std::string end = request.out.extension().string();
    if (end != ".safetensors" && end != ".pt" && end != ".pth" && end != ".bin") {
      usage_error("OUT must end in .safetensors, .pt, .pth or .bin, got \"" + request.out.string() + "\"");
    }
    std::error_code error;
    if (!std::filesystem::exists(request.in, error)) {
      throw DataError(request.in.string() + ": no such run, model folder or weights file");
    }
    if (std::filesystem::exists(request.out, error) && !flags_.overwrite) {
      usage_error(request.out.string() + " is there already: --overwrite replaces it");
    }
    return load_torch_side(0).convert(session, request);
  }

 private:
  ConvertFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_convert_command() { return std::make_unique<ConvertCommand>(); }

}  // namespace ballast::cli

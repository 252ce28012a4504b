#include <filesystem>

#include <ballast/base/check.h>

#include "command.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

class CompareCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "compare",
        .summary = "two files of weights, bit by bit: the first tensor that differs, how many, by how much",
        .operands = "A B",
        .about = "A and B are files of weights (.safetensors, .pt, TorchScript), runs or model folders. Tensors are compared in "
                 "order of their names: names, shapes, types, then every bit. For each that differs: how many numbers, the "
                 "largest difference, and the largest distance in ulps (how many numbers of the type lie between).\n"
                 "\n"
                 "Exit code 0: all equal. 5: they differ.",
        .examples =
            {
                {"did two runs give the same model?", "ballast compare runs/a runs/b"},
                {"what did a conversion change?", "ballast compare model.pt half.safetensors"},
                {"for a script", "ballast compare a.safetensors b.safetensors --json"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 2}; }
  int run(const Session& session, const Arguments& arguments) override {
    for (const std::string& path : arguments.operands) {
      std::error_code error;
      if (!std::filesystem::exists(path, error)) {
        throw DataError(path + ": no such run, model folder or weights file");
      }
    }
    return load_torch_side(0).compare(session, {.a = arguments.operands[0], .b = arguments.operands[1]});
  }
};

}  // namespace

std::unique_ptr<Command> make_compare_command() { return std::make_unique<CompareCommand>(); }

}  // namespace ballast::cli

#include <ballast/base/cpu.h>
#include <ballast/base/version.h>

#include "command.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

class VersionCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "version",
        .summary = "version of ballast, LibTorch and compiler; the processor's instructions in use",
        .operands = "",
        .about = "",
        .examples = {{"the same", "ballast --version"}, {"as JSON", "ballast version --json"}},
    };
  }
  int run(const Session& session, const Arguments&) override {
    const std::string torch = BALLAST_BUILT_WITH_LIBTORCH;
    const std::string compiler = BALLAST_COMPILER;
    const std::string target = simd_target();
    session.print(std::string("ballast ") + version() + "\nLibTorch " + (torch.empty() ? "none (built without)" : torch) +
                  "\nSIMD     " + target + " on " + cpu_name() + "\ncompiler " + compiler + "\n");
    session.document({{"ballast", version()}, {"libtorch", torch.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(torch)},
                      {"simd", target}, {"cpu", cpu_name()}, {"compiler", compiler}});
    return kDone;
  }
};

}  // namespace

std::unique_ptr<Command> make_version_command() { return std::make_unique<VersionCommand>(); }

}  // namespace ballast::cli

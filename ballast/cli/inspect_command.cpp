#include <charconv>
#include <filesystem>

#include <ballast/base/check.h>
#include <ballast/io/pt_file.h>
#include <ballast/models/catalog.h>
#include <ballast/models/model_options.h>

#include "command.h"
#include "requests.h"
#include "torch_side.h"
#include "weights_table.h"

namespace ballast::cli {
namespace {

struct InspectFlags {
  std::string input;
  Auto<int64_t> classes;
  std::string norm = "auto";
  std::string init = "auto";
  std::string act = "auto";
  ModelOptions drops;  ///< only its drops
  uint64_t seed = 0;
};
/// "3x224x224" as numbers; empty if it is not of that form.
std::vector<int64_t> parse_input(std::string_view text) {
  std::vector<int64_t> out;
  while (true) {
    int64_t x = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
    if (error != std::errc() || x < 1 || x > 65536) {
      return {};
    }
    out.push_back(x);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (text.empty()) {
      return out.size() == 3 ? out : std::vector<int64_t>{};
    }
    if (text[0] != 'x') {
      return {};
    }
    text.remove_prefix(1);
  }
}
template <class Visitor>
void describe(Visitor& visit, InspectFlags& o) {
  visit("input", o.input, {.help = "channels, height and width of the model's input", .flags = "--input",
                           .value_name = "3x224x224", .check = [](const std::string& s) {
                             return parse_input(s).empty() ? "must be CHANNELSxHEIGHTxWIDTH such as 3x224x224, got \"" + s + "\""
                                                           : std::string();
                           }});
  visit("classes", o.classes, {.help = "number of outputs of a model by name", .flags = "--classes", .range = between(1, 1e6)});
  visit("norm", o.norm, {.help = "normalization of a model by name", .flags = "--norm", .value_name = "NAME"});
  visit("init", o.init, {.help = "initial values of a model by name", .flags = "--init", .value_name = "NAME"});
  visit("act", o.act, {.help = "activation of a model by name", .flags = "--act", .value_name = "NAME"});
  visit("drop", o.drops.drop, {.help = "dropout of a model by name, as in `train`; see `ballast list drop`", .flags = "--drop --dropout", .value_name = "P"});
  visit("spatial_dropout", o.drops.spatial_dropout, {.help = "spatial dropout", .flags = "--spatial-dropout", .value_name = "P"});
  visit("alpha_dropout", o.drops.alpha_dropout, {.help = "alpha dropout", .flags = "--alpha-dropout", .value_name = "P"});
  visit("drop_connect", o.drops.drop_connect, {.help = "drop connect", .flags = "--drop-connect", .value_name = "P[:shared][:gaussian]"});
  visit("drop_block", o.drops.drop_block, {.help = "drop block", .flags = "--drop-block", .value_name = "P[:SIZE][:shared]"});
  visit("drop_path", o.drops.drop_path, {.help = "stochastic depth", .flags = "--drop-path", .value_name = "P[:row|:batch]"});
  visit("patch_dropout", o.drops.patch_dropout, {.help = "patch dropout", .flags = "--patch-dropout", .value_name = "P"});
  visit("shake_drop", o.drops.shake_drop, {.help = "ShakeDrop", .flags = "--shake-drop", .value_name = "P"});
  visit("drop_rate", o.drops.drop_rate, {.help = "other rates by the layers' names: 'layer3.*=0.2,fc*=0'", .flags = "--drop-rate", .value_name = "GLOB=P,..."});
  visit("seed", o.seed, {.help = "decides the initial values", .flags = "--seed"});
}

/// A word that means a file, though none is there.
bool is_weights_name(const std::filesystem::path& path) {
  const std::string end = path.extension().string();
  return end == ".safetensors" || end == ".pt" || end == ".pth" || end == ".bin" || end == ".ts";
}

/// The weights file of a run, of a model folder, or the file itself.
std::filesystem::path weights_of(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    return path;
  }
  for (const std::filesystem::path& file : {path / "model.safetensors", path / "model" / "model.safetensors"}) {
    if (std::filesystem::exists(file, error)) {
      return file;
    }
  }
  throw DataError(path.string() + ": neither a run nor a model folder: there is no model.safetensors in it");
}

int inspect_weights(const Session& session, const InspectRequest& request, const std::filesystem::path& path) {
  const WeightsKind kind = weights_kind(path);
  std::vector<ShownTensor> tensors;
  if (kind == WeightsKind::torchscript) {
    return load_torch_side(0).inspect(session, request);
  }
  if (kind == WeightsKind::safetensors) {
    const SafetensorsFile file = SafetensorsFile::open(path);
    for (const SafetensorsEntry& entry : file.entries()) {
      tensors.push_back({entry.name, entry.dtype, entry.shape, [&file, &entry] { return file.bytes(entry); }});
    }
    return show_weights(session, {.path = path, .kind = "safetensors", .metadata = file.metadata()}, std::move(tensors));
  }
  const PtFile file = PtFile::open(path);  // refuses a bare pickle, with the remedy
  std::vector<std::byte> bytes;
  for (const PtEntry& entry : file.entries()) {
    tensors.push_back({entry.name, entry.dtype, entry.shape, [&file, &entry, &bytes] {
                         bytes = file.bytes(entry);
                         return std::span<const std::byte>(bytes);
                       }});
  }
  return show_weights(session, {.path = path, .kind = "pt", .wrapper = file.wrapper(), .skipped = file.skipped()},
                      std::move(tensors));
}

class InspectCommand : public Command {
 public:
  InspectCommand() { own_.add("inspect", flags_); }
  CommandText text() const override {
    return {
        .name = "inspect",
        .summary = "layers of a model; tensors and statistics of a weights file",
        .operands = "MODEL|PATH",
        .about = "A model's name gives its layers with output shapes, parameters and multiply-adds.\n"
                 "\n"
                 "A run, a model folder or a file of weights gives its tensors with type, shape and statistics. Files are told "
                 "by their content: .safetensors, .pt of torch.save (of a checkpoint the state dict inside, an average "
                 "before the raw weights), TorchScript. Nothing in a .pt file is run: one that holds more than tensors is "
                 "refused, naming what it would have called.",
        .examples =
            {
                {"a layer table", "ballast inspect resnet18 --input 3x224x224"},
                {"a deep plain net with a norm", "ballast inspect plain_cnn:30 --norm batch"},
                {"where its dropout stands", "ballast inspect resnet20 --drop-path 0.1 --drop-block 0.1:5"},
                {"a trained model", "ballast inspect runs/photos-resnet18-1"},
                {"any safetensors file", "ballast inspect model.safetensors --json"},
                {"a checkpoint of PyTorch", "ballast inspect checkpoint.pth"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    InspectRequest request{.target = arguments.operands[0],
                           .input = flags_.input.empty() ? std::vector<int64_t>{} : parse_input(flags_.input),
                           .classes = flags_.classes.value_or(0),
                           .norm = flags_.norm,
                           .init = flags_.init,
                           .act = flags_.act,
                           .drops = flags_.drops,
                           .seed = flags_.seed};
    std::error_code error;
    const std::filesystem::path path(request.target);
    if (std::filesystem::exists(path, error)) {
      request.file = true;
      return inspect_weights(session, request, weights_of(path));
    }
    if (request.target.find('/') != std::string::npos || is_weights_name(path)) {
      throw DataError(request.target + ": no such run, model folder or weights file");
    }
    parse_model_name(request.target);
    return load_torch_side(0).inspect(session, request);
  }

 private:
  InspectFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command() { return std::make_unique<InspectCommand>(); }

}  // namespace ballast::cli

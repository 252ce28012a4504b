#include <ballast/weights/weights_file.h>

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <ballast/base/check.h>
#include <ballast/weights/tensor_bytes.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;

stdfs::path file_of(const stdfs::path& path) {
  std::error_code ignored;
  if (!stdfs::is_directory(path, ignored)) return path;
  for (const stdfs::path& file : {path / "model.safetensors", path / "model" / "model.safetensors"}) {
    if (stdfs::exists(file, ignored)) return file;
  }
  fail<DataError>("weights", path.string(), " must be a file of weights, a run or a model folder, got a folder without "
                  "model.safetensors");
}

StateDict read_torchscript(const stdfs::path& path) {
  const ZipFile zip = ZipFile::open(path);
  for (const ZipEntry& entry : zip.entries()) zip.check_crc(entry);
  try {
    const torch::jit::Module module = torch::jit::load(path.string(), torch::kCPU);
    StateDict state;
    for (const auto& p : module.named_parameters()) state.emplace(p.name, p.value.detach());
    for (const auto& b : module.named_buffers()) state.emplace(b.name, b.value.detach());
    return state;
  } catch (const std::exception& e) {
    std::string what = e.what();
    what.erase(0, what.find_first_not_of('\n'));
    what = what.substr(0, what.find('\n'));
    fail<DataError>("weights", path.string(), " must be a TorchScript module that this LibTorch opens: ", what);
  }
}

}  // namespace

std::string_view weights_kind_name(WeightsKind kind) {
  switch (kind) {
    case WeightsKind::safetensors: return "safetensors";
    case WeightsKind::pt: return "pt";
    case WeightsKind::torchscript: return "torchscript";
    case WeightsKind::pickle: return "pickle";
  }
  return "";
}

WeightsFile open_weights(const stdfs::path& given) {
  WeightsFile result;
  result.path = file_of(given);
  result.kind = weights_kind(result.path);
  if (result.kind == WeightsKind::safetensors) {
    result.state = read_weights(result.path);
    result.metadata = SafetensorsFile::open(result.path).metadata();
  } else if (result.kind == WeightsKind::torchscript) {
    result.state = read_torchscript(result.path);
  } else {  // PtFile refuses a bare pickle, with the remedy
    const PtFile file = PtFile::open(result.path);
    for (const PtEntry& e : file.entries()) {
      result.state.emplace(e.name, detail::tensor_of_bytes(e.dtype, e.shape, file.bytes(e), file.label(), e.name));
    }
    result.wrapper = file.wrapper();
    result.skipped = file.skipped();
  }
  return result;
}

void save_weights_file(FileSystem& fs, const stdfs::path& path, const StateDict& state,
                       const std::map<std::string, std::string>& metadata) {
  const std::string end = path.extension().string();
  if (end == ".safetensors") {
    write_weights(fs, path, state, metadata);
    return;
  }
  check(end == ".pt" || end == ".pth" || end == ".bin", "weights", path.string(),
        " must end in .safetensors, .pt, .pth or .bin, got \"", end, '"');
  write_pt(fs, path, detail::bytes_of_state(state).tensors);
}

}  // namespace ballast

#include <ballast/weights/state_dict.h>

#include <cstring>
#include <optional>
#include <sstream>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>
#include <ballast/io/safetensors.h>

namespace ballast {
namespace {

struct TypePair {
  torch::Dtype torch_type;
  SafetensorsDType file_type;
};
constexpr TypePair kTypes[] = {
    {torch::kFloat, SafetensorsDType::f32},  {torch::kDouble, SafetensorsDType::f64},
    {torch::kHalf, SafetensorsDType::f16},   {torch::kBFloat16, SafetensorsDType::bf16},
    {torch::kLong, SafetensorsDType::i64},   {torch::kInt, SafetensorsDType::i32},
    {torch::kShort, SafetensorsDType::i16},  {torch::kChar, SafetensorsDType::i8},
    {torch::kByte, SafetensorsDType::u8},    {torch::kBool, SafetensorsDType::boolean},
};

std::string shape_text(at::IntArrayRef shape) {
  std::ostringstream out;
  out << '(';
  for (size_t i = 0; i < shape.size(); ++i) out << (i ? ", " : "") << shape[i];
  out << ')';
  return out.str();
}

// "a, b, ..." of at most 5 names.
std::string list_text(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i == 5) return text + ", ...";
    text += (i ? ", " : "") + names[i];
  }
  return text;
}

std::string count_text(size_t n) {
  return n == 1 ? "1 name is " : std::to_string(n) + " names are ";
}

bool may_miss(const std::string& name) {
  return name.ends_with("num_batches_tracked");
}

std::string best_prefix(const StateDict& own, const StateDict& weights, const std::vector<std::string>& strip) {
  std::vector<std::string> prefixes = {""};
  for (const std::string& a : strip) prefixes.push_back(a);
  for (const std::string& a : strip) {
    for (const std::string& b : strip) {
      if (a != b) prefixes.push_back(a + b);
    }
  }
  std::string best;
  int64_t most = -1;
  for (const std::string& prefix : prefixes) {
    int64_t matches = 0;
    for (const auto& [name, tensor] : own) matches += weights.count(prefix + name) ? 1 : 0;
    if (matches > most || (matches == most && prefix.size() < best.size())) {
      most = matches;
      best = prefix;
    }
  }
  return best;
}

std::string nearest_hint(const char* where, const std::string& name, const std::vector<std::string>& candidates) {
  const std::string near = nearest_name(name, candidates);
  return near.empty() ? "" : std::string(" (nearest in ") + where + ": " + near + ")";
}

}  // namespace

StateDict state_dict(const torch::nn::Module& module) {
  StateDict state;
  for (const auto& p : module.named_parameters()) state.emplace(p.key(), p.value().detach());
  for (const auto& b : module.named_buffers()) state.emplace(b.key(), b.value().detach());
  return state;
}

StateDict read_weights(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  StateDict weights;
  for (const SafetensorsEntry& entry : file.entries()) {
    std::optional<torch::Dtype> type;
    for (const TypePair& pair : kTypes) {
      if (pair.file_type == entry.dtype) type = pair.torch_type;
    }
    check<DataError>(type.has_value(), "weights", path.string(), ": ", entry.name, " must be of a type LibTorch has, got ",
                     safetensors_dtype_name(entry.dtype));
    torch::Tensor tensor = torch::empty(entry.shape, torch::TensorOptions(*type));
    const std::span<const std::byte> bytes = file.bytes(entry);
    if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
    weights.emplace(entry.name, std::move(tensor));
  }
  return weights;
}

void write_weights(FileSystem& fs, const std::filesystem::path& path, const StateDict& weights,
                   const std::map<std::string, std::string>& metadata) {
  std::vector<torch::Tensor> kept;  // copies live until the file is written
  std::vector<SafetensorsTensor> tensors;
  for (const auto& [name, value] : weights) {
    kept.push_back(value.detach().to(torch::kCPU).contiguous());
    const torch::Tensor& t = kept.back();
    std::optional<SafetensorsDType> type;
    for (const TypePair& pair : kTypes) {
      if (pair.torch_type == t.scalar_type()) type = pair.file_type;
    }
    check(type.has_value(), "weights", name, " must be of a type of safetensors, got ", t.scalar_type());
    tensors.push_back({name, *type, t.sizes().vec(), {static_cast<const std::byte*>(t.data_ptr()), t.nbytes()}});
  }
  write_safetensors(fs, path, tensors, metadata);
}

LoadReport load_weights(torch::nn::Module& module, const StateDict& weights, const LoadOptions& options) {
  const StateDict own = state_dict(module);
  LoadReport report;
  report.prefix = best_prefix(own, weights, options.strip);

  std::vector<std::string> missing, unexpected, own_names, file_names;
  for (const auto& [name, tensor] : weights) file_names.push_back(name);
  std::vector<std::pair<torch::Tensor, torch::Tensor>> plan;
  for (const auto& [name, tensor] : own) {
    own_names.push_back(name);
    const auto found = weights.find(report.prefix + name);
    if (found != weights.end()) {
      plan.emplace_back(tensor, found->second);
    } else if (may_miss(name)) {
      report.missing.push_back(name);
    } else {
      missing.push_back(name);
    }
  }
  for (const auto& [name, tensor] : weights) {
    if (!name.starts_with(report.prefix) || !own.count(name.substr(report.prefix.size()))) unexpected.push_back(name);
  }
  check<DataError>(missing.empty(), "weights", count_text(missing.size()), "missing: ", list_text(missing),
                   missing.empty() ? "" : nearest_hint("file", missing[0], unexpected.empty() ? file_names : unexpected));
  check<DataError>(unexpected.empty(), "weights", count_text(unexpected.size()), "not in the model: ", list_text(unexpected),
                   unexpected.empty() ? "" : nearest_hint("model", unexpected[0], own_names));
  for (const auto& [name, tensor] : own) {
    const auto found = weights.find(report.prefix + name);
    if (found == weights.end()) continue;
    check<DataError>(found->second.sizes() == tensor.sizes(), "weights", name, " must be ", shape_text(tensor.sizes()),
                     ", got ", shape_text(found->second.sizes()));
    check<DataError>(found->second.is_floating_point() == tensor.is_floating_point(), "weights", name, " must be of type ",
                     tensor.scalar_type(), ", got ", found->second.scalar_type());
  }
  torch::NoGradGuard no_grad;
  for (auto& [to, from] : plan) to.copy_(from);
  report.loaded = static_cast<int64_t>(plan.size());
  return report;
}

}  // namespace ballast

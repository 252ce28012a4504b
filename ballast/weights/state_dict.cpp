#include <ballast/weights/state_dict.h>

#include <cstring>
#include <optional>

#include <ballast/base/check.h>
#include <ballast/weights/tensor_bytes.h>

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

}  // namespace

namespace detail {

torch::Tensor tensor_of_bytes(SafetensorsDType type, const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
                              const std::string& label, const std::string& name) {
  std::optional<torch::Dtype> found;
  for (const TypePair& pair : kTypes) {
    if (pair.file_type == type) found = pair.torch_type;
  }
  check<DataError>(found.has_value(), "weights", label, ": ", name, " must be of a type LibTorch has, got ",
                   safetensors_dtype_name(type));
  torch::Tensor tensor = torch::empty(shape, torch::TensorOptions(*found));
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

StateBytes bytes_of_state(const StateDict& state) {
  StateBytes out;
  for (const auto& [name, value] : state) {
    out.kept.push_back(value.detach().to(torch::kCPU).contiguous());
    const torch::Tensor& t = out.kept.back();
    std::optional<SafetensorsDType> type;
    for (const TypePair& pair : kTypes) {
      if (pair.torch_type == t.scalar_type()) type = pair.file_type;
    }
    check(type.has_value(), "weights", name, " must be of a type of safetensors, got ", t.scalar_type());
    out.tensors.push_back({name, *type, t.sizes().vec(), {static_cast<const std::byte*>(t.data_ptr()), t.nbytes()}});
  }
  return out;
}

}  // namespace detail

StateDict state_dict(const torch::nn::Module& module) {
  StateDict state;
  for (const auto& p : module.named_parameters()) state.emplace(p.key(), p.value().detach());
  for (const auto& b : module.named_buffers()) state.emplace(b.key(), b.value().detach());
  return state;
}

namespace {

StateDict tensors_of(const SafetensorsFile& file, const std::string& label) {
  StateDict weights;
  for (const SafetensorsEntry& entry : file.entries()) {
    weights.emplace(entry.name, detail::tensor_of_bytes(entry.dtype, entry.shape, file.bytes(entry), label, entry.name));
  }
  return weights;
}

}  // namespace

StateDict read_weights(const std::filesystem::path& path) {
  return tensors_of(SafetensorsFile::open(path), path.string());
}

StateDict decode_weights(std::vector<std::byte> bytes, const std::string& label) {
  return tensors_of(SafetensorsFile::from_bytes(std::move(bytes), label), label);
}

std::vector<std::byte> encode_weights(const StateDict& weights) {
  return encode_safetensors(detail::bytes_of_state(weights).tensors);
}

void copy_into(const StateDict& to, const StateDict& from, const std::string& label) {
  for (const auto& [name, tensor] : to) {
    const auto found = from.find(name);
    check<DataError>(found != from.end(), "weights", label, ": must hold ", name, ", it does not");
    check<DataError>(found->second.sizes() == tensor.sizes() && found->second.scalar_type() == tensor.scalar_type(), "weights",
                     label, ": ", name, " must be ", tensor.scalar_type(), " ", tensor.sizes(), ", got ",
                     found->second.scalar_type(), " ", found->second.sizes());
  }
  for (const auto& [name, tensor] : from) {
    check<DataError>(to.contains(name), "weights", label, ": ", name, " is not one of the tensors that are needed");
  }
  torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : to) {
    torch::Tensor target = tensor;
    target.copy_(from.at(name));
  }
}

void copy_into(torch::nn::Module& module, const StateDict& from, const std::string& label) {
  copy_into(state_dict(module), from, label);
}

void write_weights(FileSystem& fs, const std::filesystem::path& path, const StateDict& weights,
                   const std::map<std::string, std::string>& metadata) {
  write_safetensors(fs, path, detail::bytes_of_state(weights).tensors, metadata);
}

}  // namespace ballast

#include "torch_commands.h"

#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/report/table.h>
#include <ballast/weights/weights_file.h>

namespace ballast::cli {
namespace {

constexpr const char* kPrefixes[] = {"module.", "_orig_mod.", "model.", "backbone."};

bool every_name_has(const StateDict& state, const std::string& prefix) {
  return std::all_of(state.begin(), state.end(), [&](const auto& item) { return item.first.starts_with(prefix); });
}

StateDict stripped(const StateDict& state, const std::string& prefix, int64_t& renamed) {
  StateDict out;
  for (const auto& [name, tensor] : state) {
    const bool has = name.starts_with(prefix) && name.size() > prefix.size();
    const std::string plain = has ? name.substr(prefix.size()) : name;
    renamed += has;
    check<DataError>(out.emplace(plain, tensor).second, "convert", "names must stay different without \"", prefix, "\", got ",
                     plain, " twice");
  }
  return out;
}

StateDict with_prefix_off(StateDict state, const std::string& asked, int64_t& renamed, std::string& taken) {
  if (asked.empty()) {
    return state;
  }
  if (asked != "auto") {
    state = stripped(state, asked, renamed);
    check(renamed > 0, "convert", "--strip-prefix must be the start of a name, got \"", asked, "\"; the first name is ",
          state.empty() ? "" : state.begin()->first);
    taken = asked;
    return state;
  }
  for (bool found = true; found && !state.empty();) {
    found = false;
    for (const std::string prefix : kPrefixes) {
      if (every_name_has(state, prefix)) {
        renamed = 0;
        state = stripped(state, prefix, renamed);
        taken += prefix;
        found = true;
      }
    }
  }
  return state;
}

// Numbers that were finite and are not any more.
int64_t overflowed(const torch::Tensor& from, const torch::Tensor& to) {
  return (torch::isfinite(from) & ~torch::isfinite(to)).sum().item<int64_t>();
}

}  // namespace

int convert_with_torch(const Session& session, const ConvertRequest& request) {
  const WeightsFile file = open_weights(request.in);
  std::error_code error;
  int64_t renamed = 0, halved = 0, infinite = 0;
  std::string prefix;
  StateDict state = with_prefix_off(file.state, request.strip_prefix, renamed, prefix);
  if (!request.half.empty()) {
    const torch::Dtype type = request.half == "f16" ? torch::kHalf : torch::kBFloat16;
    for (auto& [name, tensor] : state) {
      if (tensor.is_floating_point() && tensor.scalar_type() != type) {
        const torch::Tensor small = tensor.to(type);
        const int64_t lost = overflowed(tensor, small);
        if (lost > 0) {
          session.warn(name + ": " + format_count(lost) + " numbers are beyond the range of " + request.half +
                       " and became infinite");
        }
        infinite += lost;
        tensor = small;
        ++halved;
      }
    }
  }
  if (!request.overwrite && std::filesystem::exists(request.out, error)) {
    fail("convert", request.out.string(), " must not be there yet: --overwrite replaces it");
  }
  save_weights_file(real_fs(), request.out, state, file.metadata);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(request.out, error));
  const auto before = static_cast<int64_t>(std::filesystem::file_size(file.path, error));
  std::string text = request.out.string() + ": " + format_count(static_cast<int64_t>(state.size())) + " tensors, " +
      format_bytes(static_cast<double>(size)) + " (from " + file.path.string() + ", " + std::string(weights_kind_name(file.kind)) +
      (file.wrapper.empty() ? "" : ", " + file.wrapper) + ", " + format_bytes(static_cast<double>(before)) + ")\n";
  if (!prefix.empty()) {
    text += "  \"" + prefix + "\" taken off " + format_count(renamed) + " names\n";
  }
  if (halved > 0) {
    text += "  " + format_count(halved) + " tensors written as " + request.half + "\n";
  }
  if (!file.skipped.empty()) {
    text += "  left out, since no weights:";
    for (const std::string& name : file.skipped) {
      text += " " + name;
    }
    text += "\n";
  }
  session.print(text);
  session.document({{"in", file.path.string()}, {"out", request.out.string()}, {"kind", weights_kind_name(file.kind)},
                    {"wrapper", file.wrapper}, {"tensors", state.size()}, {"bytes", size}, {"bytes_in", before},
                    {"prefix", prefix}, {"renamed", renamed}, {"converted", halved}, {"overflowed", infinite},
                    {"skipped", file.skipped}});
  return kDone;
}

}  // namespace ballast::cli

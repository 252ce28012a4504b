#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/io/safetensors.h>
#include <ballast/io/zip_file.h>

namespace ballast {

/// What a file of weights is, told by its content.
enum class WeightsKind {
  safetensors,
  pt,           ///< a zip archive of torch.save
  torchscript,  ///< a zip archive of torch.jit.save
  pickle,       ///< torch.save before PyTorch 1.6, or a bare pickle
};
/// Errors   DataError with the path: the file is missing.
WeightsKind weights_kind(const std::filesystem::path& path);

/// A tensor in a .pt file.
struct PtEntry {
  std::string name = {};
  SafetensorsDType dtype = SafetensorsDType::f32;
  std::vector<int64_t> shape = {};
  /// In numbers; as in the file, so not always C order.
  std::vector<int64_t> strides = {};
  int64_t offset = 0;
  std::string storage = {};  ///< name of its storage's file in the archive
};

/// The state dict of a .pt file that torch.save wrote, read without running anything (see read_pickle).
///
/// Dicts inside are opened by name, in this order: state_dict_ema, model_ema, state_dict, model; an average comes before
/// the raw weights. Of the dict that is found the tensors are kept, whatever else stands in it is named in skipped().
/// Checked   the archive (ZipFile), CRC-32 of every file in it, byte order, that each tensor lies in its storage.
/// Errors    DataError `[pt] PATH: what is required, got what`: a TorchScript file (torch::jit::load opens these), a
///           file of before PyTorch 1.6 and a whole pickled module, each with the remedy; no tensors.
class PtFile {
 public:
  static PtFile open(const std::filesystem::path& path);
  static PtFile from_bytes(std::vector<std::byte> bytes, std::string_view label);

  /// Sorted by name.
  const std::vector<PtEntry>& entries() const { return entries_; }
  /// The names under which the state dict was found: "state_dict"; "" at the top.
  const std::string& wrapper() const { return wrapper_; }
  /// Names in that dict, and beside it, that are no tensors: "epoch", "optimizer".
  const std::vector<std::string>& skipped() const { return skipped_; }
  /// A tensor's numbers in C order.
  std::vector<std::byte> bytes(const PtEntry& entry) const;
  const std::string& label() const { return zip_.label(); }

 private:
  explicit PtFile(ZipFile zip);
  ZipFile zip_;
  std::vector<PtEntry> entries_;
  std::string wrapper_;
  std::vector<std::string> skipped_;
};

/// Writes a state dict that torch.load(weights_only=True) opens: data.pkl, byteorder, data/N, version. Tensors that share
/// their bytes (same address and size, not empty) are stored once. The same tensors give the same bytes.
/// Errors   std::invalid_argument: a name twice; a size other than shape and dtype say; a dtype that .pt files lack.
///          StorageError.
void write_pt(FileSystem& fs, const std::filesystem::path& path, std::span<const SafetensorsTensor> tensors);

}  // namespace ballast

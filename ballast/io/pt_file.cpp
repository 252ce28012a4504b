#include <ballast/io/pt_file.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <tuple>

#include <ballast/base/check.h>
#include <ballast/io/pickle.h>

namespace ballast {
namespace {

using Kind = PickleValue::Kind;

struct StorageType {
  std::string_view name;
  SafetensorsDType dtype;
};
constexpr StorageType kStorageTypes[] = {
    {"FloatStorage", SafetensorsDType::f32},   {"DoubleStorage", SafetensorsDType::f64},
    {"HalfStorage", SafetensorsDType::f16},    {"BFloat16Storage", SafetensorsDType::bf16},
    {"LongStorage", SafetensorsDType::i64},    {"IntStorage", SafetensorsDType::i32},
    {"ShortStorage", SafetensorsDType::i16},   {"CharStorage", SafetensorsDType::i8},
    {"ByteStorage", SafetensorsDType::u8},     {"BoolStorage", SafetensorsDType::boolean},
    {"ComplexFloatStorage", SafetensorsDType::c64},
};
constexpr std::string_view kWrappers[] = {"state_dict_ema", "model_ema", "state_dict", "model"};
// More numbers than this are not made of a smaller storage (a view of stride 0).
constexpr uint64_t kMostExpanded = uint64_t{1} << 24;

constexpr std::string_view kRemedy =
    "; in Python, where you trust the file: torch.save(torch.load(FILE, weights_only=False).state_dict(), \"weights.pt\")";

size_t size_of(SafetensorsDType dtype) { return static_cast<size_t>(safetensors_dtype_bits(dtype) / 8); }

bool starts_with(std::span<const std::byte> bytes, std::string_view start) {
  return bytes.size() >= start.size() && std::memcmp(bytes.data(), start.data(), start.size()) == 0;
}

/// A length below 2^32, then JSON: so also where the length's bytes look like another format.
bool is_safetensors(std::span<const std::byte> bytes) {
  return bytes.size() >= 9 && bytes[8] == std::byte{'{'} &&
         std::all_of(bytes.begin() + 4, bytes.begin() + 8, [](std::byte b) { return b == std::byte{0}; });
}

bool is_bare_pickle(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x80} && bytes[1] >= std::byte{2} && bytes[1] <= std::byte{5};
}

void refuse_bare_pickle(std::span<const std::byte> bytes, std::string_view label) {
  check<DataError>(!is_bare_pickle(bytes), "pt", label,
                   " must be a zip archive of torch.save, got a bare pickle, as PyTorch wrote before version 1.6", kRemedy);
}

WeightsKind kind_of(const ZipFile& zip) {
  for (const ZipEntry& e : zip.entries()) {
    if (e.name.ends_with("/constants.pkl")) return WeightsKind::torchscript;
  }
  return WeightsKind::pt;
}

/// The folder that every file of the archive stands in: "archive/".
std::string prefix_of(const ZipFile& zip) {
  std::vector<std::string> found;
  for (const ZipEntry& e : zip.entries()) {
    if (e.name.ends_with("/data.pkl") && std::count(e.name.begin(), e.name.end(), '/') == 1) found.push_back(e.name);
  }
  check<DataError>(found.size() == 1, "pt", zip.label(), " must hold one NAME/data.pkl, got ", found.size(),
                   ": it is no file of torch.save");
  return found[0].substr(0, found[0].size() - 8);
}

/// The value under a text in a dict, or nullptr. The last of several counts, as in Python.
const PickleValue* find(const Pickle& pickle, const PickleValue& dict, std::string_view name) {
  const PickleValue* found = nullptr;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& key = pickle.at(dict.items[i]);
    if (key.kind == Kind::text && key.text == name) found = &pickle.at(dict.items[i + 1]);
  }
  return found;
}

std::string key_text(const PickleValue& key) {
  return key.kind == Kind::text ? key.text : key.kind == Kind::integer ? std::to_string(key.integer) : "?";
}

bool has_tensor(const Pickle& pickle, const PickleValue& dict) {
  for (size_t i = 1; i < dict.items.size(); i += 2) {
    if (pickle.at(dict.items[i]).kind == Kind::tensor) return true;
  }
  return false;
}

/// The dict under a wrapper's name, if it holds tensors or is a wrapper itself.
const PickleValue* opened(const Pickle& pickle, const PickleValue& dict, std::string_view name) {
  const PickleValue* inner = find(pickle, dict, name);
  if (inner == nullptr || inner->kind != Kind::dict || inner == &dict) return nullptr;
  const bool wraps = std::any_of(std::begin(kWrappers), std::end(kWrappers), [&](std::string_view w) {
    const PickleValue* next = find(pickle, *inner, w);
    return next != nullptr && next->kind == Kind::dict;
  });
  return wraps || has_tensor(pickle, *inner) ? inner : nullptr;
}

/// Throws unless every number of the tensor lies in its storage.
void check_tensor(const std::string& label, const std::string& name, const PickledTensor& t) {
  const auto require = [&](bool ok, const auto&... parts) { check<DataError>(ok, "pt", label, ": ", name, parts...); };
  require(t.shape.size() == t.strides.size(), " must have a stride for each dimension, got ", t.strides.size(), " for ",
          t.shape.size());
  require(t.offset >= 0, " must have an offset >= 0, got ", t.offset);
  uint64_t numbers = 1, last = static_cast<uint64_t>(t.offset);
  bool overflow = false, empty = false;
  for (size_t i = 0; i < t.shape.size(); ++i) {
    require(t.shape[i] >= 0, " must have sizes >= 0, got ", t.shape[i]);
    require(t.strides[i] >= 0, " must have strides >= 0, got ", t.strides[i]);
    empty = empty || t.shape[i] == 0;
    uint64_t span = 0;
    overflow |= __builtin_mul_overflow(numbers, static_cast<uint64_t>(t.shape[i]), &numbers);
    overflow |= t.shape[i] > 1 && __builtin_mul_overflow(static_cast<uint64_t>(t.shape[i] - 1),
                                                         static_cast<uint64_t>(t.strides[i]), &span);
    overflow |= __builtin_add_overflow(last, span, &last);
  }
  if (empty) return;
  const auto stored = static_cast<uint64_t>(t.storage_numbers);
  require(!overflow && last < stored && numbers <= std::max(stored, kMostExpanded), " must lie in its storage of ",
          t.storage_numbers, " numbers, got a shape and strides beyond it");
}

}  // namespace

WeightsKind weights_kind(const std::filesystem::path& path) {
  const MappedFile file(path);
  if (is_safetensors(file.bytes())) return WeightsKind::safetensors;
  if (starts_with(file.bytes(), "PK\x03\x04")) return kind_of(ZipFile::open(path));
  return is_bare_pickle(file.bytes()) ? WeightsKind::pickle : WeightsKind::safetensors;
}

PtFile PtFile::open(const std::filesystem::path& path) {
  refuse_bare_pickle(MappedFile(path).bytes(), path.string());
  return PtFile(ZipFile::open(path));
}

PtFile PtFile::from_bytes(std::vector<std::byte> bytes, std::string_view label) {
  refuse_bare_pickle(bytes, label);
  return PtFile(ZipFile::from_bytes(std::move(bytes), label));
}

PtFile::PtFile(ZipFile zip) : zip_(std::move(zip)) {
  const std::string& label = zip_.label();
  check<DataError>(kind_of(zip_) == WeightsKind::pt, "pt", label, " must hold a state dict, got a TorchScript module");
  const std::string prefix = prefix_of(zip_);
  for (const ZipEntry& e : zip_.entries()) zip_.check_crc(e);
  if (const ZipEntry* order = zip_.find(prefix + "byteorder")) {
    const auto bytes = zip_.bytes(*order);
    check<DataError>(starts_with(bytes, "little") && bytes.size() == 6, "pt", label, ": byteorder must be little, got another");
  }
  Pickle pickle;
  try {
    pickle = read_pickle(zip_.bytes(*zip_.find(prefix + "data.pkl")), label);
  } catch (const DataError& e) {
    const bool global = std::string_view(e.what()).find("is not a constructor") != std::string_view::npos;
    if (!global) throw;
    fail<DataError>("pt", std::string_view(e.what()).substr(std::string_view("[pickle] ").size()),
                    "; the file holds more than weights, such as a whole module", kRemedy);
  }

  const PickleValue* dict = &pickle.at(pickle.root);
  check<DataError>(dict->kind == Kind::dict, "pt", label, " must hold a dict of tensors, got another value");
  for (bool deeper = true; deeper && wrapper_.size() < 200;) {
    deeper = false;
    for (const std::string_view name : kWrappers) {
      const PickleValue* inner = opened(pickle, *dict, name);
      if (inner == nullptr) continue;
      for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
        const std::string key = key_text(pickle.at(dict->items[i]));
        if (key != name) skipped_.push_back(wrapper_ + key);
      }
      wrapper_ += std::string(name) + ".";
      dict = inner;
      deeper = true;
      break;
    }
  }
  if (!wrapper_.empty()) wrapper_.pop_back();
  if (!has_tensor(pickle, *dict)) {
    std::string keys;
    for (size_t i = 0; i + 1 < std::min<size_t>(dict->items.size(), 20); i += 2) {
      keys += (i > 0 ? ", " : "") + key_text(pickle.at(dict->items[i]));
    }
    fail<DataError>("pt", label, " must hold tensors by name, got ", keys.empty() ? "nothing" : "none among: " + keys);
  }
  std::map<std::string, PtEntry> by_name;
  for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
    const PickleValue& key = pickle.at(dict->items[i]);
    const PickleValue& value = pickle.at(dict->items[i + 1]);
    const std::string name = key_text(key);
    if (key.kind != Kind::text || value.kind != Kind::tensor) {
      skipped_.push_back((wrapper_.empty() ? "" : wrapper_ + ".") + name);
      continue;
    }
    const PickledTensor& t = value.tensor;
    PtEntry e{.name = name, .shape = t.shape, .strides = t.strides, .offset = t.offset, .storage = prefix + "data/" + t.storage};
    for (const StorageType& type : kStorageTypes) {
      if (type.name == t.storage_type) e.dtype = type.dtype;
    }
    const ZipEntry* storage = zip_.find(e.storage);
    check<DataError>(storage != nullptr, "pt", label, ": ", name, " must have its storage ", e.storage, ", got none");
    uint64_t bytes = 0;
    const bool overflow = __builtin_mul_overflow(static_cast<uint64_t>(t.storage_numbers), size_of(e.dtype), &bytes);
    check<DataError>(!overflow && !storage->deflated && storage->size == bytes, "pt", label, ": ", e.storage, " must hold ",
                     t.storage_numbers, " numbers of ", size_of(e.dtype), " bytes, got ", storage->size, " bytes");
    check_tensor(label, name, t);
    by_name[name] = std::move(e);
  }
  for (auto& [name, e] : by_name) entries_.push_back(std::move(e));
}

std::vector<std::byte> PtFile::bytes(const PtEntry& entry) const {
  const size_t size = size_of(entry.dtype);
  const std::span<const std::byte> storage = zip_.bytes(*zip_.find(entry.storage));
  uint64_t numbers = 1;
  std::vector<int64_t> dense(entry.shape.size());
  for (size_t i = entry.shape.size(); i-- > 0;) {
    dense[i] = static_cast<int64_t>(numbers);
    numbers *= static_cast<uint64_t>(entry.shape[i]);
  }
  std::vector<std::byte> out(static_cast<size_t>(numbers) * size);
  if (out.empty()) return out;
  bool contiguous = true;
  for (size_t i = 0; i < entry.shape.size(); ++i) {
    contiguous = contiguous && (entry.shape[i] == 1 || entry.strides[i] == dense[i]);
  }
  const std::byte* from = storage.data() + static_cast<size_t>(entry.offset) * size;
  if (contiguous) {
    std::memcpy(out.data(), from, out.size());
    return out;
  }
  std::vector<int64_t> index(entry.shape.size(), 0);
  for (size_t i = 0; i < out.size(); i += size) {
    std::memcpy(out.data() + i, from, size);
    for (size_t d = index.size(); d-- > 0;) {
      from += entry.strides[d] * static_cast<int64_t>(size);
      if (++index[d] < entry.shape[d]) break;
      from -= entry.strides[d] * entry.shape[d] * static_cast<int64_t>(size);
      index[d] = 0;
    }
  }
  return out;
}

void write_pt(FileSystem& fs, const std::filesystem::path& path, std::span<const SafetensorsTensor> tensors) {
  std::vector<std::pair<std::string, PickledTensor>> pickled;
  std::map<std::tuple<const std::byte*, size_t, SafetensorsDType>, std::string> stored;
  std::vector<ZipPart> storages;
  std::set<std::string> names;
  for (const SafetensorsTensor& t : tensors) {
    check(names.insert(t.name).second, "pt", "each name must be given once, got ", t.name, " twice");
    PickledTensor p;
    for (const StorageType& type : kStorageTypes) {
      if (type.dtype == t.dtype) p.storage_type = type.name;
    }
    check(!p.storage_type.empty(), "pt", t.name, " must be of a type of .pt files, got ", safetensors_dtype_name(t.dtype));
    p.shape = t.shape;
    p.strides.resize(t.shape.size());
    int64_t numbers = 1;
    for (size_t i = t.shape.size(); i-- > 0;) {
      p.strides[i] = std::max<int64_t>(1, numbers);
      numbers *= t.shape[i];
    }
    check(numbers >= 0 && t.bytes.size() == static_cast<size_t>(numbers) * size_of(t.dtype), "pt", t.name, " must have ",
          numbers, " numbers, got ", t.bytes.size(), " bytes");
    p.storage_numbers = numbers;
    const auto place = std::tuple(t.bytes.data(), t.bytes.size(), t.dtype);
    const auto shared = stored.find(place);
    if (shared != stored.end() && !t.bytes.empty()) {
      p.storage = shared->second;
    } else {
      p.storage = std::to_string(storages.size());
      stored[place] = p.storage;
      storages.push_back({"archive/data/" + p.storage, t.bytes});
    }
    pickled.emplace_back(t.name, std::move(p));
  }
  const std::string pickle = write_state_pickle(pickled);
  const std::string_view order = "little", version = "3\n";
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  std::vector<ZipPart> parts = {{"archive/data.pkl", bytes(pickle)}, {"archive/byteorder", bytes(order)}};
  parts.insert(parts.end(), storages.begin(), storages.end());
  parts.push_back({"archive/version", bytes(version)});
  write_zip(fs, path, parts);
}

}  // namespace ballast

#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// A tensor as a pickle describes it: a view of a storage that lies elsewhere.
struct PickledTensor {
  std::string storage_type;      ///< such as FloatStorage
  std::string storage;           ///< its key: the name of its file
  int64_t storage_numbers = 0;
  int64_t offset = 0;            ///< in numbers
  std::vector<int64_t> shape, strides;
};

/// A value of a pickle. Values refer to others by index, so a value may stand in several places.
struct PickleValue {
  enum class Kind : uint8_t { none, boolean, integer, real, text, bytes, list, dict, tensor, storage, global };
  Kind kind = Kind::none;
  int64_t integer = 0;           ///< of boolean and integer
  double real = 0;
  std::string text = {};         ///< of text, bytes; of global: "collections.OrderedDict"
  std::vector<uint32_t> items = {};  ///< of list (tuples too); of dict: key, value, key, value, ...
  PickledTensor tensor = {};     ///< of tensor; of storage: its storage_* fields
};

/// A pickle, read: its values, and the index of the result.
struct Pickle {
  std::vector<PickleValue> values;
  uint32_t root = 0;
  const PickleValue& at(uint32_t index) const { return values[index]; }
};

/// Reads a pickle without being able to run anything: the part of the format that state dicts are made of.
///
///   opcodes        those of plain data (numbers, texts, bytes, tuples, lists, dicts, the memo) of protocols 2 to 5,
///                  GLOBAL, STACK_GLOBAL, REDUCE, BUILD, BINPERSID; all others are refused by name
///   globals        collections.OrderedDict, torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter,
///                  torch.<Type>Storage; all others are refused by name
///   REDUCE         calls only these, each as a constructor of a value here; nothing is looked up or imported
///   BUILD          is ignored: the attributes of an OrderedDict (_metadata) do not matter here
///   persistent id  ("storage", type, key, device, numbers)
///
/// Memory is at most proportional to the input's size.
/// label    names the file in errors
/// Errors   DataError `[pickle] LABEL: what is required, got what`, as
///          `[pickle] w.pt: posix.system is not a constructor of tensors, which is all that is allowed here: nothing was run`
Pickle read_pickle(std::span<const std::byte> bytes, std::string_view label);

/// Writes the data.pkl of a state dict: PROTO 2, an OrderedDict of _rebuild_tensor_v2. Python's
/// torch.load(weights_only=True) opens it. Numbers must fit (storages above 2^31 numbers are written as LONG1).
std::string write_state_pickle(std::span<const std::pair<std::string, PickledTensor>> tensors);

}  // namespace ballast

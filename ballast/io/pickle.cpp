#include <ballast/io/pickle.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include <ballast/base/check.h>

namespace ballast {
namespace {

using Kind = PickleValue::Kind;

// The opcodes that are read.
enum Op : uint8_t {
  kMark = '(', kStop = '.', kBinFloat = 'G', kBinInt = 'J', kBinInt1 = 'K', kBinInt2 = 'M', kNone = 'N', kBinPersId = 'Q',
  kReduce = 'R', kBinString = 'T', kShortBinString = 'U', kBinUnicode = 'X', kEmptyList = ']', kAppend = 'a', kBuild = 'b',
  kGlobal = 'c', kAppends = 'e', kBinGet = 'h', kLongBinGet = 'j', kBinPut = 'q', kLongBinPut = 'r', kSetItem = 's',
  kTuple = 't', kSetItems = 'u', kEmptyTuple = ')', kEmptyDict = '}', kBinBytes = 'B', kShortBinBytes = 'C', kProto = 0x80,
  kTuple1 = 0x85, kTuple2 = 0x86, kTuple3 = 0x87, kTrue = 0x88, kFalse = 0x89, kLong1 = 0x8a, kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d, kBinBytes8 = 0x8e, kStackGlobal = 0x93, kMemoize = 0x94, kFrame = 0x95,
};

struct OpName {
  uint8_t code;
  std::string_view name;
};
// Those that are not, for the error.
constexpr OpName kForbidden[] = {
    {'0', "POP"}, {'1', "POP_MARK"}, {'2', "DUP"}, {'F', "FLOAT"}, {'I', "INT"}, {'L', "LONG"}, {'P', "PERSID"},
    {'S', "STRING"}, {'V', "UNICODE"}, {'d', "DICT"}, {'i', "INST"}, {'l', "LIST"}, {'o', "OBJ"}, {'g', "GET"}, {'p', "PUT"},
    {0x81, "NEWOBJ"}, {0x82, "EXT1"}, {0x83, "EXT2"}, {0x84, "EXT4"}, {0x8b, "LONG4"}, {0x8f, "EMPTY_SET"},
    {0x90, "ADDITEMS"}, {0x91, "FROZENSET"}, {0x92, "NEWOBJ_EX"}, {0x96, "BYTEARRAY8"}, {0x97, "NEXT_BUFFER"},
    {0x98, "READONLY_BUFFER"},
};

constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kStorages[] = {"FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage", "LongStorage",
                                          "IntStorage", "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage",
                                          "ComplexFloatStorage"};

/// "FloatStorage" of torch.FloatStorage; "" for others.
std::string_view storage_type(std::string_view global) {
  if (!global.starts_with("torch.")) return "";
  const std::string_view type = global.substr(6);
  const auto found = std::find(std::begin(kStorages), std::end(kStorages), type);
  return found == std::end(kStorages) ? std::string_view() : *found;
}

// Text of an untrusted name for a message.
std::string shown(std::string_view name) {
  std::string out;
  for (const char c : name.substr(0, 100)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return name.size() > 100 ? out + "..." : out;
}

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view label) : bytes_(bytes), label_(label) {}

  Pickle read() {
    while (!step()) {
    }
    return std::move(out_);
  }

 private:
  // Runs an opcode; true at STOP.
  bool step() {
    const auto op = static_cast<uint8_t>(number(1));
    switch (op) {
      case kProto: {
        const uint64_t version = number(1);
        require(version >= 2 && version <= 5, "the protocol must be 2 to 5, got ", version);
        break;
      }
      case kFrame: number(8); break;
      case kStop:
        require(marks_.empty() && stack_.size() == 1, "one value must remain at the end, got ", stack_.size());
        out_.root = stack_[0];
        return true;
      case kMark: marks_.push_back(stack_.size()); break;
      case kNone: push({}); break;
      case kTrue: push({.kind = Kind::boolean, .integer = 1}); break;
      case kFalse: push({.kind = Kind::boolean}); break;
      case kBinInt: push_integer(static_cast<int32_t>(number(4))); break;
      case kBinInt1: push_integer(static_cast<int64_t>(number(1))); break;
      case kBinInt2: push_integer(static_cast<int64_t>(number(2))); break;
      case kLong1: push_integer(long_number(number(1))); break;
      case kBinFloat: {
        uint64_t bits = 0;
        for (int i = 0; i < 8; ++i) bits = bits << 8 | number(1);
        push({.kind = Kind::real, .real = std::bit_cast<double>(bits)});
        break;
      }
      case kBinUnicode: push_text(Kind::text, number(4)); break;
      case kShortBinUnicode: push_text(Kind::text, number(1)); break;
      case kBinUnicode8: push_text(Kind::text, number(8)); break;
      case kShortBinString: push_text(Kind::text, number(1)); break;
      case kBinString: push_text(Kind::text, number(4)); break;
      case kShortBinBytes: push_text(Kind::bytes, number(1)); break;
      case kBinBytes: push_text(Kind::bytes, number(4)); break;
      case kBinBytes8: push_text(Kind::bytes, number(8)); break;
      case kEmptyList:
      case kEmptyTuple: push({.kind = Kind::list}); break;
      case kEmptyDict: push({.kind = Kind::dict}); break;
      case kTuple: push_tuple(take_to_mark()); break;
      case kTuple1: push_tuple(take(1)); break;
      case kTuple2: push_tuple(take(2)); break;
      case kTuple3: push_tuple(take(3)); break;
      case kAppend: append(take(1)); break;
      case kAppends: append(take_to_mark()); break;
      case kSetItem: set_items(take(2)); break;
      case kSetItems: set_items(take_to_mark()); break;
      case kBinPut: put(number(1)); break;
      case kLongBinPut: put(number(4)); break;
      case kMemoize: put(memo_.size()); break;
      case kBinGet: get(number(1)); break;
      case kLongBinGet: get(number(4)); break;
      case kGlobal: {
        const std::string module = line();
        push_global(module + "." + line());
        break;
      }
      case kStackGlobal: {
        const std::vector<uint32_t> names = take(2);
        for (const uint32_t name : names) require(value(name).kind == Kind::text, "a global's name must be a text");
        push_global(value(names[0]).text + "." + value(names[1]).text);
        break;
      }
      case kReduce: reduce(); break;
      case kBuild: take(1); top(); break;
      case kBinPersId: persistent(take(1)[0]); break;
      default: {
        for (const OpName& forbidden : kForbidden) {
          require(forbidden.code != op, "opcode ", forbidden.name, " is not allowed, since state dicts do not need it: "
                  "nothing was run");
        }
        fail_here("byte ", static_cast<int>(op), " is no opcode: the file is damaged or no pickle");
      }
    }
    return false;
  }

  template <class... Parts>
  [[noreturn]] void fail_here(const Parts&... parts) const {
    fail<DataError>("pickle", label_, ": ", parts..., " (byte ", at_, ")");
  }
  template <class... Parts>
  void require(bool ok, const Parts&... parts) const {
    if (!ok) fail_here(parts...);
  }

  std::string_view raw(uint64_t size) {
    require(size <= bytes_.size() - at_, "the pickle must go on for ", size, " bytes, got ", bytes_.size() - at_,
            ": the file is truncated");
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, static_cast<size_t>(size));
    at_ += static_cast<size_t>(size);
    return text;
  }
  uint64_t number(uint64_t size) {
    uint64_t result = 0;
    int shift = 0;
    for (const char c : raw(size)) {
      result |= uint64_t{static_cast<uint8_t>(c)} << shift;
      shift += 8;
    }
    return result;
  }
  // Two's complement of up to 8 bytes, as Python's long.
  int64_t long_number(uint64_t size) {
    require(size <= 8, "an integer must have at most 8 bytes, got ", size);
    if (size == 0) return 0;
    const uint64_t bits = number(size);
    const auto shift = static_cast<int>(64 - 8 * size);
    return static_cast<int64_t>(bits << shift) >> shift;
  }
  std::string line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_, bytes_.size() - at_);
    const size_t end = rest.find('\n');
    require(end != std::string_view::npos, "a global's name must end, got the end of the file: it is truncated");
    at_ += end + 1;
    return std::string(rest.substr(0, end));
  }

  PickleValue& value(uint32_t index) { return out_.values[index]; }
  void push(PickleValue v) {
    require(out_.values.size() < UINT32_MAX, "a pickle must have fewer than 2^32 values");
    out_.values.push_back(std::move(v));
    stack_.push_back(static_cast<uint32_t>(out_.values.size() - 1));
  }
  void push_integer(int64_t x) { push({.kind = Kind::integer, .integer = x}); }
  void push_text(Kind kind, uint64_t size) { push({.kind = kind, .text = std::string(raw(size))}); }
  void push_tuple(std::vector<uint32_t> items) { push({.kind = Kind::list, .items = std::move(items)}); }
  void push_global(const std::string& name) {
    require(name == kOrderedDict || name == kRebuildTensor || name == kRebuildParameter || !storage_type(name).empty(),
            shown(name), " is not a constructor of tensors, which is all that is allowed here: nothing was run");
    push({.kind = Kind::global, .text = name});
  }

  // Values below the newest mark stay out of reach.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  std::vector<uint32_t> take(size_t n) {
    require(stack_.size() >= floor() + n, "an opcode needs ", n, " values, got ", stack_.size() - floor());
    std::vector<uint32_t> items(stack_.end() - static_cast<ptrdiff_t>(n), stack_.end());
    stack_.resize(stack_.size() - n);
    return items;
  }
  std::vector<uint32_t> take_to_mark() {
    require(!marks_.empty(), "an opcode needs a mark, got none");
    std::vector<uint32_t> items(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  uint32_t top() const {
    require(stack_.size() > floor(), "an opcode needs a value, got none");
    return stack_.back();
  }
  void put(uint64_t slot) {
    memo_[slot] = top();
  }
  void get(uint64_t slot) {
    const auto found = memo_.find(slot);
    require(found != memo_.end(), "value ", slot, " of the memo must be there, got none");
    stack_.push_back(found->second);
  }
  void append(const std::vector<uint32_t>& items) {
    PickleValue& list = value(top());
    require(list.kind == Kind::list, "items can be added to a list only");
    list.items.insert(list.items.end(), items.begin(), items.end());
  }
  void set_items(const std::vector<uint32_t>& items) {
    PickleValue& dict = value(top());
    require(dict.kind == Kind::dict && items.size() % 2 == 0, "pairs can be added to a dict only");
    dict.items.insert(dict.items.end(), items.begin(), items.end());
  }

  void persistent(uint32_t id) {
    require(value(id).kind == Kind::list && value(id).items.size() == 5, "a persistent id must be a tuple of 5");
    const std::vector<uint32_t> parts = value(id).items;
    require(value(parts[0]).kind == Kind::text &&
                value(parts[0]).text == "storage" && value(parts[1]).kind == Kind::global &&
                !storage_type(value(parts[1]).text).empty() && value(parts[2]).kind == Kind::text &&
                value(parts[4]).kind == Kind::integer,
            "a persistent id must name a storage: (\"storage\", type, key, device, numbers)");
    require(value(parts[2]).text.size() <= 256, "a storage's key must have at most 256 bytes");
    require(value(parts[4]).integer >= 0, "a storage must have >= 0 numbers, got ", value(parts[4]).integer);
    PickleValue storage{.kind = Kind::storage};
    storage.tensor.storage_type = storage_type(value(parts[1]).text);
    storage.tensor.storage = value(parts[2]).text;
    storage.tensor.storage_numbers = value(parts[4]).integer;
    push(std::move(storage));
  }

  std::vector<int64_t> integers(uint32_t index, const char* what) {
    const PickleValue& list = value(index);
    require(list.kind == Kind::list && list.items.size() <= 64, "a tensor's ", what, " must be at most 64 integers");
    std::vector<int64_t> result;
    for (const uint32_t item : list.items) {
      require(value(item).kind == Kind::integer, "a tensor's ", what, " must be integers");
      result.push_back(value(item).integer);
    }
    return result;
  }

  void reduce() {
    const std::vector<uint32_t> call = take(2);
    require(value(call[0]).kind == Kind::global && value(call[1]).kind == Kind::list && value(call[1]).items.size() <= 16,
            "REDUCE must call an allowed constructor with at most 16 arguments");
    const std::vector<uint32_t> arguments = value(call[1]).items;
    const std::string name = value(call[0]).text;
    if (name == kOrderedDict) {
      require(arguments.empty(), "an OrderedDict must be made empty");
      push({.kind = Kind::dict});
    } else if (name == kRebuildTensor) {
      require(arguments.size() >= 4 && value(arguments[0]).kind == Kind::storage && value(arguments[1]).kind == Kind::integer,
              "_rebuild_tensor_v2 must have a storage, an offset, a shape and strides");
      PickleValue tensor{.kind = Kind::tensor};
      tensor.tensor = value(arguments[0]).tensor;
      tensor.tensor.offset = value(arguments[1]).integer;
      tensor.tensor.shape = integers(arguments[2], "shape");
      tensor.tensor.strides = integers(arguments[3], "strides");
      push(std::move(tensor));
    } else if (name == kRebuildParameter) {
      require(!arguments.empty() && value(arguments[0]).kind == Kind::tensor, "_rebuild_parameter must have a tensor");
      stack_.push_back(arguments[0]);
    } else {
      fail_here(shown(name), " must not be called");
    }
  }

  std::span<const std::byte> bytes_;
  std::string_view label_;
  size_t at_ = 0;
  Pickle out_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  std::map<uint64_t, uint32_t> memo_;
};

// Opcodes of a state dict.
class Emitter {
 public:
  void op(uint8_t code) { text_ += static_cast<char>(code); }
  void number(uint64_t value, int size) {
    for (int i = 0; i < size; ++i) text_ += static_cast<char>(value >> (8 * i));
  }
  void global(std::string_view module, std::string_view name) {
    op(kGlobal);
    text_.append(module).append("\n").append(name).append("\n");
  }
  void text(std::string_view t) {
    op(kBinUnicode);
    number(t.size(), 4);
    text_ += t;
  }
  void integer(int64_t x) {
    if (x >= 0 && x < 256) {
      op(kBinInt1);
      number(static_cast<uint64_t>(x), 1);
    } else if (x >= INT32_MIN && x <= INT32_MAX) {
      op(kBinInt);
      number(static_cast<uint64_t>(x), 4);
    } else {
      op(kLong1);
      number(8, 1);
      number(static_cast<uint64_t>(x), 8);
    }
  }
  void tuple(std::span<const int64_t> items) {
    op(kMark);
    for (const int64_t x : items) integer(x);
    op(kTuple);
  }
  void empty_ordered_dict() {
    global("collections", "OrderedDict");
    op(kEmptyTuple);
    op(kReduce);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

}  // namespace

Pickle read_pickle(std::span<const std::byte> bytes, std::string_view label) { return Reader(bytes, label).read(); }

std::string write_state_pickle(std::span<const std::pair<std::string, PickledTensor>> tensors) {
  Emitter out;
  out.op(kProto);
  out.number(2, 1);
  out.empty_ordered_dict();
  out.op(kMark);
  for (const auto& [name, tensor] : tensors) {
    out.text(name);
    out.global("torch._utils", "_rebuild_tensor_v2");
    out.op(kMark);
    out.op(kMark);
    out.text("storage");
    out.global("torch", tensor.storage_type);
    out.text(tensor.storage);
    out.text("cpu");
    out.integer(tensor.storage_numbers);
    out.op(kTuple);
    out.op(kBinPersId);
    out.integer(tensor.offset);
    out.tuple(tensor.shape);
    out.tuple(tensor.strides);
    out.op(kFalse);
    out.empty_ordered_dict();
    out.op(kTuple);
    out.op(kReduce);
  }
  out.op(kSetItems);
  out.op(kStop);
  return out.take();
}

}  // namespace ballast

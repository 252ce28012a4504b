#include <ballast/io/pickle.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ballast/base/check.h>

namespace ballast {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Kind = PickleValue::Kind;

Pickle read(std::string_view text) { return read_pickle(std::as_bytes(std::span(text)), "w.pt"); }

std::string with_zeros(const char* text, size_t size) { return {text, size}; }
#define PICKLE(text) with_zeros(text, sizeof(text) - 1)

TEST(Pickle, PlainDataIsRead) {
  // Python: pickle.dumps({"a": [1, -2, 300, 2**40, 2.5, None, True], "b": ("x", b"y")}, protocol=2), shortened memo.
  const Pickle p = read(PICKLE("\x80\x02}q\x00(X\x01\x00\x00\x00" "a]q\x01(K\x01J\xfe\xff\xff\xffM,\x01\x8a\x06\x00\x00\x00\x00\x00\x01"
                               "G@\x04\x00\x00\x00\x00\x00\x00N\x88" "eX\x01\x00\x00\x00" "bX\x01\x00\x00\x00xC\x01y\x86u."));
  const PickleValue& root = p.at(p.root);
  ASSERT_EQ(root.kind, Kind::dict);
  ASSERT_EQ(root.items.size(), 4U);
  EXPECT_EQ(p.at(root.items[0]).text, "a");
  const PickleValue& list = p.at(root.items[1]);
  ASSERT_EQ(list.items.size(), 7U);
  EXPECT_EQ(p.at(list.items[0]).integer, 1);
  EXPECT_EQ(p.at(list.items[1]).integer, -2);
  EXPECT_EQ(p.at(list.items[2]).integer, 300);
  EXPECT_EQ(p.at(list.items[3]).integer, int64_t{1} << 40);
  EXPECT_EQ(p.at(list.items[4]).real, 2.5);
  EXPECT_EQ(p.at(list.items[5]).kind, Kind::none);
  EXPECT_EQ(p.at(list.items[6]).kind, Kind::boolean);
  const PickleValue& pair = p.at(root.items[3]);
  EXPECT_EQ(p.at(pair.items[0]).text, "x");
  EXPECT_EQ(p.at(pair.items[1]).kind, Kind::bytes);
}

TEST(Pickle, AForbiddenGlobalIsRefusedByName) {
  EXPECT_THAT([] { read(PICKLE("\x80\x02" "cposix\nsystem\nX\x04\x00\x00\x00" "true\x85R.")); },
              ThrowsMessage<DataError>("[pickle] w.pt: posix.system is not a constructor of tensors, which is all that is "
                                       "allowed here: nothing was run (byte 16)"));
  for (const char* name : {"builtins\neval", "os\nsystem", "torch\nload", "torch.storage\n_load_from_bytes", "torch\nUntypedStorage",
                           "collections\nordereddict", "torch._utils\n_rebuild_tensor_v3", "numpy.core.multiarray\nscalar"}) {
    EXPECT_THAT([&] { read("\x80\x02" + ("c" + std::string(name)) + "\n."); }, ThrowsMessage<DataError>(HasSubstr("nothing was run")))
        << name;
  }
  // By the stack, as protocol 4 writes it; and a name that would spoil a terminal.
  EXPECT_THAT([] { read(PICKLE("\x80\x04\x8c\x05posix\x8c\x06system\x93.")); }, ThrowsMessage<DataError>(HasSubstr("posix.system")));
  EXPECT_THAT([] { read(PICKLE("\x80\x02" "c\x1b[31m\nx\n.")); }, ThrowsMessage<DataError>(HasSubstr("?[31m.x is not")));
}

TEST(Pickle, AForbiddenOpcodeIsRefusedByName) {
  const std::pair<uint8_t, const char*> all[] = {{'i', "INST"}, {'o', "OBJ"}, {0x81, "NEWOBJ"}, {0x92, "NEWOBJ_EX"},
                                                 {0x82, "EXT1"}, {'P', "PERSID"}, {'2', "DUP"}, {'0', "POP"}, {'I', "INT"},
                                                 {0x97, "NEXT_BUFFER"}, {0x8b, "LONG4"}};
  for (const auto& [code, name] : all) {
    const std::string text = PICKLE("\x80\x02N") + static_cast<char>(code) + "os\nsystem\n.";
    EXPECT_THAT([&] { read(text); },
                ThrowsMessage<DataError>(HasSubstr("opcode " + std::string(name) + " is not allowed")));
  }
  // Every other byte is read, or refused.
  int read_ops = 0;
  for (int code = 0; code < 256; ++code) {
    try {
      read(PICKLE("\x80\x02") + static_cast<char>(code));
    } catch (const DataError& e) {
      const std::string_view what = e.what();
      read_ops += what.find("not allowed") == std::string_view::npos && what.find("no opcode") == std::string_view::npos;
    }
  }
  EXPECT_EQ(read_ops, 41);
}

TEST(Pickle, MisuseOfAllowedPartsIsRefused) {
  const std::pair<std::string, const char*> all[] = {
      {PICKLE("\x80\x02."), "one value must remain"},
      {PICKLE("\x80\x02NN."), "one value must remain at the end, got 2"},
      {PICKLE("\x80\x09N."), "protocol must be 2 to 5, got 9"},
      {PICKLE("\x80\x02N"), "truncated"},
      {PICKLE("\x80\x02X\xff\xff\xff\xff" "a."), "truncated"},
      {PICKLE("\x80\x02h\x07."), "value 7 of the memo must be there"},
      {PICKLE("\x80\x02q\x00."), "needs a value"},
      {PICKLE("\x80\x02" "a."), "needs 1 values"},
      {PICKLE("\x80\x02NNa."), "to a list only"},
      {PICKLE("\x80\x02}Nau."), "to a list only"},
      {PICKLE("\x80\x02]NNs."), "to a dict only"},
      {PICKLE("\x80\x02}(Nu."), "to a dict only"},
      {PICKLE("\x80\x02t."), "needs a mark"},
      {PICKLE("\x80\x02}(Ns."), "needs 2 values"},  // not below the mark
      {PICKLE("\x80\x02NQ."), "a persistent id must be"},
      {PICKLE("\x80\x02N)R."), "REDUCE must call"},
      {PICKLE("\x80\x02" "ctorch\nFloatStorage\n)R."), "must not be called"},
      {PICKLE("\x80\x02" "ccollections\nOrderedDict\nN\x85R."), "made empty"},
      {PICKLE("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n)R."), "must have a storage"},
      {PICKLE("\x80\x02" "ctorch._utils\n_rebuild_parameter\nN\x85R."), "must have a tensor"},
      {PICKLE("\x80\x02\x8a\x09" "123456789."), "at most 8 bytes"},
  };
  for (const auto& [text, error] : all) {
    EXPECT_THAT([&] { read(text); }, ThrowsMessage<DataError>(HasSubstr(error))) << error;
  }
}

TEST(Pickle, SharingCannotMultiplyMemory) {
  // Each list holds the one before it twice: 2^64 leaves in Python, a value each here.
  std::string text = PICKLE("\x80\x02(]q\x00");
  for (int i = 0; i < 64; ++i) text += PICKLE("](h\x00h\x00" "eq\x00");
  text += "t.";
  const Pickle p = read(text);
  EXPECT_EQ(p.values.size(), 66U);
  EXPECT_EQ(p.at(p.at(p.root).items.back()).items.size(), 2U);
}

TEST(Pickle, WhatIsWrittenIsReadBack) {
  const PickledTensor a{"FloatStorage", "0", 6, 0, {2, 3}, {3, 1}};
  const PickledTensor b{"LongStorage", "17", int64_t{1} << 33, 70'000, {}, {}};
  const std::pair<std::string, PickledTensor> state[] = {{"conv.weight", a}, {"", b}};
  const Pickle p = read(write_state_pickle(state));
  const PickleValue& root = p.at(p.root);
  ASSERT_EQ(root.items.size(), 4U);
  EXPECT_EQ(p.at(root.items[0]).text, "conv.weight");
  const PickledTensor& c = p.at(root.items[1]).tensor;
  EXPECT_EQ(c.storage_type, "FloatStorage");
  EXPECT_EQ(c.storage_numbers, 6);
  EXPECT_EQ(c.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(c.strides, (std::vector<int64_t>{3, 1}));
  const PickledTensor& d = p.at(root.items[3]).tensor;
  EXPECT_EQ(d.storage, "17");
  EXPECT_EQ(d.storage_numbers, int64_t{1} << 33);
  EXPECT_EQ(d.offset, 70'000);
  EXPECT_TRUE(d.shape.empty());
}

}  // namespace
}  // namespace ballast

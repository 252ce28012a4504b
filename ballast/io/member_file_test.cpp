#include <ballast/io/member_file.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/io/prediction_file.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

void put(const std::filesystem::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

/// A .npy file as numpy.save writes it.
template <class T>
std::string npy(const std::string& descr, const std::string& shape, const std::vector<T>& values, const char* fortran = "False") {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string out = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() % 256) + static_cast<char>(header.size() / 256) + header;
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return out;
}

TEST(MemberFile, ReadsWhatNumpySaved) {
  const TestFolder folder;
  put(folder / "a.npy", npy<float>("<f4", "(2, 3)", {1, 2, 3, -4, 5, 6}));
  const MemberTable a = read_member_table(folder / "a.npy");
  EXPECT_EQ(a.n, 2);
  EXPECT_EQ(a.k, 3);
  EXPECT_TRUE(a.is_logit);
  EXPECT_THAT(a.scores, ElementsAre(1, 2, 3, -4, 5, 6));
  put(folder / "b.npy", npy<double>("<f8", "(2, 2)", {.25, .75, .1, .9}));
  const MemberTable b = read_member_table(folder / "b.npy");
  EXPECT_FALSE(b.is_logit);
  EXPECT_THAT(b.scores, ElementsAre(.25F, .75F, .1F, .9F));
  put(folder / "y.npy", npy<int64_t>("<i8", "(3,)", {2, 0, 1}));
  EXPECT_THAT(read_label_table(folder / "y.npy").label, ElementsAre(2, 0, 1));
}

TEST(MemberFile, ReadsCsvWithAndWithoutNames) {
  const TestFolder folder;
  put(folder / "a.csv", "id,cat,dog,label\n7,0.25,0.75,1\n\"x,y\",1e0,0,cat\r\n");
  const MemberTable a = read_member_table(folder / "a.csv");
  EXPECT_THAT(a.classes, ElementsAre("cat", "dog"));
  EXPECT_THAT(a.id, ElementsAre("7", "x,y"));
  EXPECT_THAT(a.label, ElementsAre(1, 0));
  EXPECT_THAT(a.scores, ElementsAre(.25F, .75F, 1, 0));
  EXPECT_FALSE(a.is_logit);
  put(folder / "b.csv", "1.5,-2\n3,4\n");
  const MemberTable b = read_member_table(folder / "b.csv");
  EXPECT_TRUE(b.is_logit);
  EXPECT_TRUE(b.classes.empty());
  EXPECT_EQ(b.n, 2);
  // What `ballast predict --format csv --logits` prints.
  put(folder / "c.csv", "file,error,unsure,class1,probability1,logit:cat,logit:dog\np.jpg,,0,cat,0.9,2.5,0.25\n");
  const MemberTable c = read_member_table(folder / "c.csv");
  EXPECT_THAT(c.classes, ElementsAre("cat", "dog"));
  EXPECT_THAT(c.scores, ElementsAre(2.5F, .25F));
  EXPECT_THAT(c.id, ElementsAre("p.jpg"));
  put(folder / "y.csv", "id,label\n3,1\n4,0\n");
  EXPECT_THAT(read_label_table(folder / "y.csv").id, ElementsAre("3", "4"));
  put(folder / "z.csv", "1\n0\n2\n");
  EXPECT_THAT(read_label_table(folder / "z.csv").label, ElementsAre(1, 0, 2));
}

TEST(MemberFile, SeveralLabelsAPictureAreRefused) {
  const TestFolder folder;
  PredictionTable table;
  table.index = {1, 4};
  table.loss = {.1, .1};
  table.logits = {2, 0, 0, 2};
  table.classes = 2;
  table.several_labels = true;
  table.targets = {1, 0, 1, 1};
  write_predictions(folder / "run.safetensors", table);
  EXPECT_EQ(message_of<DataError>([&] { read_member_table(folder / "run.safetensors"); }),
            "[member_file] " + (folder / "run.safetensors").string() +
                ": pictures must have one label, they have several; ensembles and calibration are not made for that");
}

TEST(MemberFile, ReadsTheTablesOfARunAndItsOwn) {
  const TestFolder folder;
  write_predictions(folder / "run.safetensors", {.index = {1, 4}, .target = {0, 1}, .pred = {0, 1}, .rank = {0, 0}, .loss = {.1, .1}, .confidence = {.9, .9},
                                                 .logits = {2, 0, 0, 2}, .classes = 2, .metadata = {{"split", "val"}}});
  const MemberTable run = read_member_table(folder / "run.safetensors");
  EXPECT_THAT(run.id, ElementsAre("1", "4"));
  EXPECT_THAT(run.label, ElementsAre(0, 1));
  EXPECT_EQ(run.metadata.at("split"), "val");
  EXPECT_TRUE(run.is_logit);
  MemberTable own = run;
  own.is_logit = false;
  own.classes = {"a \"b\"", "c"};
  write_member_table(folder / "own.safetensors", own);
  const MemberTable back = read_member_table(folder / "own.safetensors");
  EXPECT_EQ(back.scores, own.scores);
  EXPECT_EQ(back.id, own.id);
  EXPECT_EQ(back.label, own.label);
  EXPECT_EQ(back.classes, own.classes);
  EXPECT_FALSE(back.is_logit);
}

TEST(MemberFile, BringsRowsAndClassesIntoOneOrder) {
  const MemberTable a{.scores = {1, 2, 3, 4, 5, 6}, .n = 3, .k = 2, .id = {"x", "y", "z"}, .label = {0, 1, 0}, .classes = {"cat", "dog"}, .metadata = {}, .source = "a"};
  const MemberTable b{.scores = {60, 50, 20, 10, 40, 30}, .n = 3, .k = 2, .id = {"z", "x", "y"}, .label = {1, 1, 0}, .classes = {"dog", "cat"}, .metadata = {}, .source = "b"};
  std::vector<MemberTable> both = {a, b};
  align_member_tables(both);
  EXPECT_THAT(both[1].scores, ElementsAre(10, 20, 30, 40, 50, 60));
  EXPECT_EQ(both[1].label, a.label);
  EXPECT_EQ(both[1].classes, a.classes);
  MemberTable plain = a;
  plain.id.clear();
  plain.label.clear();
  both = {plain, a};
  align_member_tables(both);
  EXPECT_EQ(both[0].label, a.label);
}

TEST(MemberFile, RefusesTablesThatDoNotBelongTogether) {
  const MemberTable a{.scores = {1, 2, 3, 4, 5, 6}, .n = 3, .k = 2, .id = {"17", "18", "19"}, .label = {0, 1, 0}, .classes = {"cat", "dog"}, .metadata = {}, .source = "a.csv"};
  const auto refuse = [&](auto&& change, const char* text) {
    MemberTable b = a;
    b.source = "b.csv";
    change(b);
    std::vector<MemberTable> both(2, a);
    both[1] = b;
    EXPECT_THAT([&] { align_member_tables(both); }, ThrowsMessage<DataError>(HasSubstr(text)));
  };
  refuse([](auto& t) { t.id[1] = "20"; }, "[members] b.csv lacks 1 of the rows of a.csv: 18");
  refuse([](auto& t) { t.id[1] = "17"; }, "[members] b.csv has the row 17 twice");
  refuse([](auto& t) { t.label[2] = 1; }, "[members] labels must agree, but row 2 is 1 in b.csv and 0 in a.csv");
  refuse([](auto& t) { t.classes[0] = "cow"; }, "[members] classes must match: \"cat\" of a.csv is none of b.csv");
  refuse([](auto& t) { t.id.clear(), t.n = 2, t.scores.resize(4), t.label.clear(); }, "[members] members must have equal rows, got 3 in a.csv and 2 in b.csv");
  refuse([](auto& t) { t.k = 3, t.n = 2; }, "[members] members must have equal classes, got 2 in a.csv and 3 in b.csv");
}

TEST(MemberFile, RefusesFilesThatAreNone) {
  const TestFolder folder;
  const auto refuse = [&](const char* name, const std::string& content, const char* text) {
    put(folder / name, content);
    EXPECT_THAT([&] { read_member_table(folder / name); }, ThrowsMessage<DataError>(HasSubstr(text)));
  };
  const std::string good = npy<float>("<f4", "(2, 3)", {1, 2, 3, 4, 5, 6});
  refuse("a.npy", "", "no .npy file");
  refuse("a.npy", "\x93NUMPY\x01", "no .npy file");
  for (size_t cut = 0; cut < good.size(); ++cut) {
    put(folder / "a.npy", good.substr(0, cut));
    EXPECT_THROW(read_member_table(folder / "a.npy"), DataError) << cut;
  }
  refuse("a.npy", npy<float>("<f4", "(2, 3)", {1, 2, 3, 4, 5, 6}, "True"), "must be in C order");
  refuse("a.npy", npy<float>("<f4", "(6,)", {1, 2, 3, 4, 5, 6}), "must have rows and classes (n, k), got 1 dimensions");
  refuse("a.npy", npy<float>("<i4", "(2, 3)", {1, 2, 3, 4, 5, 6}), "scores must be float32 or float64, got '<i4'");
  refuse("a.npy", npy<float>("<f4", "(99999999999, 99999999999)", {1}), "the array is cut");
  refuse("a.npy", npy<float>("<f4", "(-2, 3)", {1}), "the shape must be numbers");
  refuse("a.csv", "", "the file is empty");
  refuse("a.csv", "a,b\n1,2\n3\n", "line 3 must have 2 fields, got 1");
  refuse("a.csv", "a,b\n1,x\n", "line 2 must have a number in column 2, got \"x\"");
  refuse("a.csv", "a,b,label\n1,2,2\n", "a label must be in [0, 2), got 2");
  refuse("a.csv", "id,label\n1,2\n", "no column of scores");
  refuse("a.csv", "\"a,b\n", "a quoted field is not closed");
  refuse("a.txt", "1,2", "predictions are read from .safetensors, .npy or .csv, got \".txt\"");
  EXPECT_THAT([&] { read_member_table(folder / "none.npz"); }, ThrowsMessage<DataError>(HasSubstr("no such file")));
  put(folder / "y.csv", "id,class\n1,2\n");
  EXPECT_THAT([&] { read_label_table(folder / "y.csv"); }, ThrowsMessage<DataError>(HasSubstr("a column \"label\" is required")));
}

}  // namespace
}  // namespace ballast

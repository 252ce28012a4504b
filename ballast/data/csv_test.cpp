#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/data/csv.h>
#include <ballast/data/data_set.h>
#include <ballast/data/loader.h>
#include <ballast/data/pack.h>
#include <ballast/data/source.h>
#include <ballast/data/test_data.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Rows = std::vector<std::vector<std::string>>;

Rows rows_of(const std::string& text, std::vector<int64_t>* lines = nullptr) {
  Rows rows;
  parse_csv(text, "x.csv", [&](const std::vector<std::string>& row, int64_t line) {
    rows.push_back(row);
    if (lines != nullptr) {
      lines->push_back(line);
    }
  });
  return rows;
}
std::string error_of(const std::string& text) {
  return message_of<DataError>([&] { rows_of(text); });
}

TEST(Csv, ReadsWhatRfc4180Allows) {
  EXPECT_EQ(rows_of("a,b\r\n1,2\r\n"), (Rows{{"a", "b"}, {"1", "2"}}));
  EXPECT_EQ(rows_of("a,b\n1,"), (Rows{{"a", "b"}, {"1", ""}}));
  EXPECT_EQ(rows_of("\xef\xbb\xbf" "a\n\n\nb"), (Rows{{"a"}, {"b"}}));
  EXPECT_EQ(rows_of("\"x, y\",\"say \"\"hi\"\"\",\"two\nlines\"\r\nz,,\n"), (Rows{{"x, y", "say \"hi\"", "two\nlines"}, {"z", "", ""}}));
  EXPECT_EQ(rows_of(""), Rows{});
  std::vector<int64_t> lines;
  rows_of("a\n\"1\n2\"\n\nb\n", &lines);
  EXPECT_THAT(lines, ElementsAre(1, 2, 5));
}

TEST(Csv, WritesWhatItReads) {
  for (const std::string field : {"plain", "with, comma", "\"quoted\"", "new\nline", "", "cr\rlf"}) {
    EXPECT_EQ(rows_of("x," + csv_field(field) + "\n"), (Rows{{"x", field}}));
  }
}

TEST(Csv, NamesTheLineOfWhatIsWrong) {
  EXPECT_EQ(error_of("a\n\"b\nc"), "[csv] x.csv: line 3: a quote is not closed");
  EXPECT_EQ(error_of("a\nb\"c\n"), "[csv] x.csv: line 2: a field that holds quotes must stand in quotes");
  EXPECT_EQ(error_of("\"a\"b\n"), "[csv] x.csv: line 1: text stands behind a closing quote");
  EXPECT_EQ(error_of(std::string("a\0b", 3)), "[csv] x.csv: line 1: a field must not hold a zero byte");
  EXPECT_EQ(error_of(std::string(1100, ',')), "[csv] x.csv: line 1: a row must have at most 1,000 fields");
  EXPECT_EQ(error_of(std::string(2 << 20, 'x')), "[csv] x.csv: line 1: a row must have at most 1 MiB");
}

class CsvSource : public testing::Test {
 protected:
  CsvSource() {
    write_classes(folder_.str(), {{"a", 4}, {"b", 4}});
  }
  std::shared_ptr<const Source> open(const std::string& text) {
    write_text(folder_ / "list.csv", text);
    return open_source({.source = folder_ / "list.csv"});
  }
  std::string error(const std::string& text) {
    return message_of<DataError>([&] { open(text); });
  }
  TempFolder folder_;
};

TEST_F(CsvSource, GivesPathsLabelsAndRoles) {
  const auto source = open("label,ignored,path,role\nzebra,1,a/00.png,test\nant,2,a/01.png,train\nant,3,b/00.png,val\n");
  EXPECT_EQ(source->format(), "csv");
  EXPECT_THAT(source->classes(), ElementsAre("ant", "zebra"));
  std::vector<std::string> rows;
  for (int64_t i = 0; i < source->size(); ++i) {
    rows.push_back(std::string(to_string(*source->role(i))) + " " + source->name(i) + " " + std::to_string(source->label(i)));
  }
  EXPECT_THAT(rows, ElementsAre("train a/01.png 0", "val b/00.png 0", "test a/00.png 1"));
  EXPECT_THAT(source->notes(), ElementsAre("columns that are not read: \"ignored\""));
  EXPECT_EQ(source->path(0), folder_ / "a/01.png");
  std::vector<std::byte> buffer;
  EXPECT_GT(source->read(0, buffer).file.size(), 50U);
}

TEST_F(CsvSource, NumbersAreOrderedByValue) {
  EXPECT_THAT(open("file,class\na/00.png,10\na/01.png,9\n")->classes(), ElementsAre("9", "10"));
  EXPECT_THAT(open("file,class\na/00.png,10\na/01.png,x\n")->classes(), ElementsAre("10", "x"));
}

TEST_F(CsvSource, APictureMayHaveSeveralLabels) {
  const auto source = open("path,label,role\na/00.png,b;a,train\na/01.png,a;b,train\na/02.png,,train\nb/00.png,c,train\nb/01.png,c;a,test\n");
  EXPECT_TRUE(source->several_labels());
  EXPECT_THAT(source->classes(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(source->label_sets(), (LabelSets{{}, {0, 1}, {0, 2}, {2}}));
  std::vector<std::string> labels;
  for (int64_t i = 0; i < source->size(); ++i) labels.push_back(std::to_string(source->label(i)) + " " + source->label_text(i));
  EXPECT_THAT(labels, ElementsAre("1 a;b", "1 a;b", "0 ", "3 c", "2 a;c"));
  EXPECT_THAT(source->classes_of(4), ElementsAre(0, 2));
  EXPECT_THAT(source->notes(), ElementsAre("a picture may have several labels: 3 classes in 4 combinations"));
  const DataSet data = open_data({.source = folder_ / "list.csv", .split_val = 0}, Key(1));
  EXPECT_THAT(data.class_counts(Role::train), ElementsAre(2, 2, 1));
  EXPECT_THAT(data.class_counts(Role::test), ElementsAre(1, 0, 1));
  // Names and sets decide the digest, the order in a cell does not.
  const std::string digest = source->digest();
  EXPECT_EQ(open("path,label,role\na/00.png,a;b,train\na/01.png,b;a,train\na/02.png,,train\nb/00.png,c,train\nb/01.png,a;c,test\n")->digest(), digest);
  EXPECT_NE(open("path,label,role\na/00.png,a;b,train\na/01.png,b;a,train\na/02.png,,train\nb/00.png,d,train\nb/01.png,a;d,test\n")->digest(), digest);
  EXPECT_FALSE(open("path,label\na/00.png,a\nb/00.png,b\n")->several_labels());
  EXPECT_THAT(open("path,label\na/00.png,10;9\na/01.png,9\n")->classes(), ElementsAre("9", "10"));
}

TEST_F(CsvSource, RareSetsOfLabelsAreSplitTogether) {
  // Each of 60 pictures has a set of its own: a tenth of one picture would be none.
  std::string text = "path,label\n";
  for (int i = 0; i < 60; ++i) {
    const std::string file = "g/" + std::to_string(i) + ".png";
    write_bytes(folder_ / file, encode_png(test_picture(static_cast<uint64_t>(i))));
    text += file + ',';
    for (int bit = 0; bit < 6; ++bit) {
      if ((i + 1) >> bit & 1) text += (text.back() == ',' ? "" : ";") + std::string(1, static_cast<char>('a' + bit));
    }
    text += '\n';
  }
  write_text(folder_ / "list.csv", text);
  const DataSet data = open_data({.source = folder_ / "list.csv", .split_val = 0.1, .split_test = 0.2}, Key(1));
  EXPECT_EQ(data.role(Role::val).size(), 6);
  EXPECT_EQ(data.role(Role::test).size(), 12);
  EXPECT_EQ(open_data({.source = folder_ / "list.csv", .limit = 7}, Key(1)).train_size(), 7);
}

TEST_F(CsvSource, APackedFileKeepsSetsOfLabels) {
  const auto source = open("path,label\na/00.png,b;a\na/01.png,c\na/02.png,\nb/00.png,c;b\n");
  pack(*source, folder_ / "list.bpk", {});
  const auto packed = open_source({.source = folder_ / "list.bpk"});
  EXPECT_EQ(packed->label_sets(), source->label_sets());
  EXPECT_EQ(packed->classes(), source->classes());
  for (int64_t i = 0; i < source->size(); ++i) {
    EXPECT_EQ(packed->label(i), source->label(i));
    EXPECT_EQ(packed->label_text(i), source->label_text(i));
  }
  EXPECT_EQ(message_of<std::invalid_argument>([&] { write_shards(*source, folder_ / "shards", {}); }),
            "[pack] shards hold one label a picture: pack a list of several labels into one file, got \"a;b\"");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "shards"));
}

TEST_F(CsvSource, APictureMayBeNamedMoreThanOnce) {
  write_text(folder_ / "list.csv", "path,label\na/00.png,a\na/00.png,a\na/01.png,a\nb/00.png,b\nb/01.png,b\nb/02.png,b\n");
  const DataSet data = open_data({.source = folder_ / "list.csv", .split_val = 0.34, .split_test = 0}, Key(1));
  EXPECT_EQ(data.source->size(), 6);
  int roles_with_it = 0;
  for (const RoleView& view : data.roles) {
    int n = 0;
    for (const uint64_t id : *view.ids) n += data.source->name(static_cast<int64_t>(id)) == "a/00.png" ? 1 : 0;
    roles_with_it += n > 0 ? 1 : 0;
    EXPECT_TRUE(n == 0 || n == 2);
  }
  EXPECT_EQ(roles_with_it, 1);
}

TEST_F(CsvSource, GroupsShareARole) {
  std::string text = "path,label,group\n";
  for (int i = 0; i < 40; ++i) {
    const std::string file = "g/" + std::to_string(i) + ".png";
    write_bytes(folder_ / file, encode_png(test_picture(static_cast<uint64_t>(i))));
    text += file + (i % 2 == 0 ? ",x," : ",y,") + "patient" + std::to_string(i / 4) + "\n";
  }
  write_text(folder_ / "list.csv", text);
  const DataSet data = open_data({.source = folder_ / "list.csv", .split_val = 0.2, .split_test = 0.2}, Key(1));
  std::vector<int> role(40);
  for (const RoleView& view : data.roles) {
    EXPECT_GT(view.size(), 0);
    for (const uint64_t id : *view.ids) {
      role[id] = static_cast<int>(view.role);
    }
  }
  for (size_t i = 0; i < 40; ++i) {
    EXPECT_EQ(role[i], role[i / 4 * 4]) << i;
  }
}

TEST_F(CsvSource, WeightsSayHowOftenAPictureIsDrawn) {
  const std::string names = "path,label,role,weight\n";
  const auto source = open(names + "a/00.png,a,train,2\na/01.png,a,train,0\nb/00.png,b,train,1\nb/01.png,b,train,1\nb/02.png,b,val,9\n");
  EXPECT_EQ(source->weight(0), 2);
  EXPECT_EQ(source->weight(1), 0);
  EXPECT_NE(source->digest(), open("path,label,role\na/00.png,a,train\na/01.png,a,train\nb/00.png,b,train\nb/01.png,b,train\nb/02.png,b,val\n")->digest());
  // The packed file says the same.
  pack(*source, folder_ / "list.bpk", {});
  for (const std::string given : {"list.csv", "list.bpk"}) {
    write_text(folder_ / "list.csv", names + "a/00.png,a,train,2\na/01.png,a,train,0\nb/00.png,b,train,1\nb/01.png,b,train,1\nb/02.png,b,val,9\n");
    const DataSet data = open_data({.source = folder_ / given}, Key(1));
    EXPECT_THAT(data.notes, testing::Contains("training pictures are drawn by weight; val and test count each once"));
    Loader train(data.role(Role::train), Pipeline::parse("random_crop(8, padding=2)"), {.batch_size = 4, .seed = 1, .height = 8, .width = 8, .workers = 0});
    int other_views = 0;
    for (int64_t epoch = 0; epoch < 8; ++epoch) {
      train.start_epoch(epoch);
      BatchSlot* batch = train.next();
      ASSERT_EQ(batch->n, 4);
      EXPECT_THAT(batch->id, testing::UnorderedElementsAre(0, 0, 2, 3)) << given;
      const auto first = std::find(batch->id.begin(), batch->id.end(), 0U), second = std::find(first + 1, batch->id.end(), 0U);
      const float *a = batch->row(first - batch->id.begin()), *b = batch->row(second - batch->id.begin());
      other_views += std::equal(a, a + batch->sample_size(), b) ? 0 : 1;
    }
    EXPECT_GT(other_views, 4) << given;
    Loader val(data.role(Role::val), Pipeline::parse("center_crop(8)"), {.batch_size = 4, .seed = 1, .height = 8, .width = 8, .shuffle = false, .workers = 0});
    val.start_epoch(0);
    EXPECT_EQ(val.next()->n, 1);
  }
  EXPECT_THROW(write_shards(*source, folder_ / "shards", {}), std::invalid_argument);
  const auto none = open("path,label,role,weight\na/00.png,a,train,0\nb/00.png,b,train,0\nb/02.png,b,val,9\n");
  EXPECT_THAT(message_of<DataError>([&] {
    const DataSet data = open_data({.source = folder_ / "list.csv"}, Key(1));
    Loader(data.role(Role::train), Pipeline::parse("center_crop(8)"), {.batch_size = 4, .height = 8, .width = 8, .workers = 0});
  }), HasSubstr("role \"train\" must have a weight above 0, got none"));
}

TEST_F(CsvSource, EqualContentJoinsGroups) {
  std::filesystem::copy_file(folder_ / "a/00.png", folder_ / "b/copy.png");
  const auto source = open("path,label,group\na/00.png,a,p\na/01.png,a,p\nb/00.png,b,q\nb/copy.png,b,q\nb/01.png,b,\nb/02.png,b,\n");
  EXPECT_THAT(source->identical(), ElementsAre(0, 0, 0, 0, 4, 5));
}

TEST_F(CsvSource, NamesTheLineOfWhatIsWrong) {
  EXPECT_THAT(error("a/00.png,cat\n"), HasSubstr("line 1: must name the columns, \"path\" and \"label\" among them, got \"a/00.png,cat\""));
  EXPECT_THAT(error("path,label,file\n"), HasSubstr("line 1: names the column \"path\" twice"));
  EXPECT_THAT(error("path,label\na/00.png,cat\na/01.png\n"), HasSubstr("line 3: must have 2 fields, got 1"));
  EXPECT_THAT(error("path,label\n../x.png,cat\n"), HasSubstr("line 2: path must not have a part \"..\", got \"../x.png\""));
  EXPECT_THAT(error("path,label\n/etc/x.png,cat\n"), HasSubstr("must not be absolute"));
  EXPECT_THAT(error("path,label\na/00.png,\n"), HasSubstr("line 2: label must not be empty"));
  EXPECT_THAT(error("path,label\na/00.png,a;b\na/01.png,a;;b\n"), HasSubstr("line 3: a label between \";\" must not be empty, got \"a;;b\""));
  EXPECT_THAT(error("path,label\na/00.png,a;\n"), HasSubstr("line 2: a label between \";\" must not be empty, got \"a;\""));
  EXPECT_THAT(error("path,label\na/00.png,;\n"), HasSubstr("line 2: a label between \";\" must not be empty, got \";\""));
  EXPECT_THAT(error("path,label\na/00.png,a;b\n\na/01.png,b;c;b\n"), HasSubstr("line 4: a picture must have each label once, got \"b;c;b\""));
  EXPECT_THAT(error("path,label\na/00.png,a; b\n"), HasSubstr("line 2: a label between \";\" must not begin or end with a blank, got \"a; b\""));
  for (const std::string bad : {"", "-1", "nan", "inf", "1e999", "2x", "+1", " 1"}) {
    EXPECT_THAT(error("path,label,weight\na/00.png,a,2\na/01.png,a," + bad + "\n"),
                HasSubstr("line 3: weight must be a number >= 0, got \"" + bad + '"'));
  }
  EXPECT_THAT(error("path,label,role\na/00.png,a,dev\n"), HasSubstr("line 2: role must be train, val or test, got \"dev\""));
  EXPECT_THAT(error("path,label,role\na/00.png,a,train\na/01.png,a,\n"), HasSubstr("must give every picture a role, or none, got 1 of 2 without"));
  EXPECT_THAT(error("path,label\n"), HasSubstr("names no picture"));
}

}  // namespace
}  // namespace ballast

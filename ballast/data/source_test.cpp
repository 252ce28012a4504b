#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/data/data_set.h>
#include <ballast/data/source.h>
#include <ballast/data/test_data.h>
#include <ballast/image/decode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace ballast {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_of(const std::string& path, const std::string& format = "auto") {
  return message_of<DataError>([&] { open_source({.source = path, .format = format}); });
}

void write_idx_pair(const std::string& folder, const std::string& part, uint32_t n,
                    const std::string& labels, uint32_t side = 2) {
  std::string pixels;
  for (uint32_t i = 0; i < n * side * side; ++i) {
    pixels += static_cast<char>(i);
  }
  write_text(folder + "/" + part + "-images-idx3-ubyte", idx_text({n, side, side}, pixels));
  write_text(folder + "/" + part + "-labels-idx1-ubyte",
             idx_text({static_cast<uint32_t>(labels.size())}, labels));
}

TEST(IdxSource, PairsFilesByNameAndPutsTrainFirst) {
  TempFolder folder;
  write_idx_pair(folder.str(), "t10k", 2, std::string("\1\0", 2));
  write_idx_pair(folder.str(), "train", 3, std::string("\0\1\1", 3));
  const auto source = open_source({.source = folder.str()});
  EXPECT_EQ(source->format(), "idx");
  EXPECT_EQ(source->size(), 5);
  EXPECT_EQ(source->channels(), 1);
  EXPECT_THAT(source->classes(), ElementsAre("0", "1"));
  EXPECT_EQ(source->role(0), Role::train);
  EXPECT_EQ(source->role(4), Role::test);
  EXPECT_EQ(source->label(2), 1);
  EXPECT_EQ(source->label(3), 1);
  EXPECT_EQ(source->name(4), "t10k-images-idx3-ubyte 1");
  std::vector<std::byte> buffer;
  const Stored stored = source->read(1, buffer);
  ASSERT_FALSE(stored.encoded());
  EXPECT_EQ(stored.pixels.h, 2);
  EXPECT_EQ(stored.pixels.row_u8(1)[1], 7);
  EXPECT_THAT(source->identical(), ElementsAre(0, 1, 2, 0, 1));
  EXPECT_EQ(source->digest().size(), 64u);
}

TEST(IdxSource, NamesWhatIsWrong) {
  TempFolder folder;
  write_idx_pair(folder.str(), "train", 3, std::string("\0\1", 2));
  EXPECT_THAT(error_of(folder.str()), HasSubstr("holds 3 pictures, but"));
  write_idx_pair(folder.str(), "train", 2, std::string("\0\2", 2));
  EXPECT_THAT(error_of(folder.str()), EndsWith("label 2 is out of range: no picture has label 1"));
  write_idx_pair(folder.str(), "train", 2, std::string("\0\1", 2));
  write_idx_pair(folder.str(), "t10k", 2, std::string("\0\2", 2));
  EXPECT_THAT(error_of(folder.str()),
              EndsWith("label of picture 1 is out of range, must be in [0, 2), got 2"));
  write_idx_pair(folder.str(), "t10k", 2, std::string("\0\1", 2), 3);
  EXPECT_THAT(error_of(folder.str()), EndsWith("pictures are 3x3, those of the part before 2x2"));
  write_text(folder / "train-images-idx3-ubyte", "no magic here");
  EXPECT_THAT(
      error_of(folder.str()),
      HasSubstr(
          "train-images-idx3-ubyte: must start with the bytes 00 00 TYPE DIMS, got 6e 6f 20 6d"));
  fs::remove(folder / "train-labels-idx1-ubyte");
  EXPECT_THAT(error_of(folder.str()),
              EndsWith("has no labels beside it, expected train-labels-idx1-ubyte"));
}

TEST(IdxSource, FindsAnUnpackedArchivesOnlyFolder) {
  TempFolder folder;
  write_idx_pair(folder / "mnist-idx", "train", 2, std::string("\0\1", 2));
  EXPECT_EQ(open_source({.source = folder.str()})->size(), 2);
}

TEST(CifarSource, ReadsPlanesAsPixels) {
  TempFolder folder;
  std::string file(30'730'000, '\0');
  file[3073] = 7;              // picture 1
  file[3073 + 1] = 11;         // its first red,
  file[3073 + 1 + 1024] = 22;  // green
  file[3073 + 1 + 2048] = 33;  // and blue
  write_text(folder / "data_batch_1.bin", file);
  write_text(folder / "batches.meta.txt",
             "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
  const auto source = open_source({.source = folder.str()});
  EXPECT_EQ(source->format(), "cifar");
  EXPECT_EQ(source->size(), 10'000);
  EXPECT_EQ(source->channels(), 3);
  EXPECT_EQ(source->label(1), 7);
  EXPECT_EQ(source->classes()[7], "horse");
  EXPECT_EQ(source->role(0), Role::train);
  std::vector<std::byte> buffer;
  const ImageView image = source->read(1, buffer).pixels;
  EXPECT_THAT(std::vector<int>(image.row_u8(0), image.row_u8(0) + 3), ElementsAre(11, 22, 33));

  file[0] = 10;
  write_text(folder / "data_batch_1.bin", file);
  EXPECT_THAT(error_of(folder.str()),
              EndsWith("label of picture 0 is out of range, must be in [0, 10), got 10"));
  file.pop_back();
  write_text(folder / "data_batch_1.bin", file);
  EXPECT_THAT(error_of(folder.str()), EndsWith("must have 30730000 bytes, got 30729999"));
}

TEST(CifarSource, ReadsFineAndCoarseLabels) {
  TempFolder folder;
  std::string file(30'740'000, '\0');
  file[0] = 19;
  file[1] = 99;
  write_text(folder / "test.bin", file);
  EXPECT_EQ(open_source({.source = folder.str()})->label(0), 99);
  const auto coarse = open_source({.source = folder.str(), .cifar_labels = "coarse"});
  EXPECT_EQ(coarse->label(0), 19);
  EXPECT_EQ(coarse->classes().size(), 20u);
  EXPECT_EQ(coarse->role(0), Role::test);
  EXPECT_THROW(open_source({.source = folder.str(), .cifar_labels = "medium"}),
               std::invalid_argument);
}

TEST(FolderSource, ClassesAndFilesAreSortedByBytes) {
  TempFolder folder;
  for (const char* name :
       {"b/2.png", "b/10.PNG", "B/x.JPEG", "b/sub/a.webp", "b/.hidden.png", "b/notes.txt"}) {
    write_text(folder / name, "content");
  }
  const auto source = open_source({.source = folder.str()});
  EXPECT_EQ(source->format(), "folder");
  EXPECT_THAT(source->classes(), ElementsAre("B", "b"));
  std::vector<std::string> names;
  for (int64_t i = 0; i < source->size(); ++i) {
    names.push_back(source->name(i));
    EXPECT_EQ(source->role(i), std::nullopt);
    EXPECT_EQ(source->label(i), i == 0 ? 0 : 1);
  }
  EXPECT_THAT(names, ElementsAre("B/x.JPEG", "b/10.PNG", "b/2.png", "b/sub/a.webp"));
  EXPECT_THAT(source->notes(),
              ElementsAre("1 file is ignored, as it is no picture by name (first: b/notes.txt)"));
  std::vector<std::byte> buffer;
  EXPECT_EQ(source->read(3, buffer).file.size(), 7u);
}

TEST(FolderSource, PartsByName) {
  TempFolder folder;
  write_classes(folder / "train", {{"a", 2}, {"b", 1}});
  write_classes(folder / "Validation", {{"b", 1}}, 1);
  write_classes(folder / "test", {{"a", 1}, {"b", 1}}, 2);
  write_text(folder / "more/x.png", "x");
  const auto source = open_source({.source = folder.str() + "/"});
  std::vector<std::string> names;
  for (int64_t i = 0; i < source->size(); ++i) {
    names.push_back(std::string(to_string(*source->role(i))) + " " + source->name(i));
  }
  EXPECT_THAT(names,
              ElementsAre("train train/a/00.png", "train train/a/01.png", "train train/b/00.png",
                          "val Validation/b/00.png", "test test/a/00.png", "test test/b/00.png"));
  EXPECT_EQ(source->path(0), folder / "train/a/00.png");
  EXPECT_THAT(source->notes(),
              ElementsAre("folder \"more\" is ignored: it is none of train, val, test"));
}

TEST(FolderSource, AClassMayBeNamedTrain) {
  TempFolder folder;
  write_classes(folder.str(), {{"bus", 1}, {"train", 1}});
  EXPECT_THAT(open_source({.source = folder.str()})->classes(), ElementsAre("bus", "train"));
}

TEST(FolderSource, NamesWhatIsWrong) {
  TempFolder folder;
  EXPECT_THAT(error_of(folder / "none"), EndsWith("none: no such file or folder"));
  EXPECT_THAT(error_of(folder.str()),
              EndsWith("must hold a folder of pictures for each class, got none"));
  write_classes(folder.str(), {{"a", 1}});
  fs::create_directories(folder / "b");
  EXPECT_EQ(error_of(folder.str()), "[image_folder] " + (folder / "b") +
                                        ": class \"b\" holds no picture (jpg, jpeg, png, webp)");
  fs::remove(folder / "b");
  for (const auto& [name, text] : {std::pair{"a/p.heic", "HEIC is not read"},
                                   {"a/p.GIF", "GIF is not read"},
                                   {"a/p.tiff", "TIFF is not read"},
                                   {"a/p.bmp", "BMP is not read"}}) {
    write_text(folder / name, "x");
    EXPECT_THAT(error_of(folder.str()), HasSubstr(std::string(name) + ": " + text));
    EXPECT_THAT(error_of(folder.str()), HasSubstr("convert it first"));
    fs::remove(folder / name);
  }
  write_classes(folder / "x/train", {{"a", 1}});
  write_classes(folder / "x/test", {{"c", 1}});
  EXPECT_THAT(error_of(folder / "x"), EndsWith("test/c: class \"c\" has no pictures to train on"));
}

TEST(FolderSource, LinksStayInside) {
  TempFolder folder;
  TempFolder outside;
  write_classes(folder.str(), {{"a", 1}, {"b", 1}});
  fs::create_symlink(folder / "a/00.png", folder / "b/link.png");
  fs::create_directory_symlink(folder / "a", folder / "b/more");
  EXPECT_EQ(open_source({.source = folder.str()})->size(), 4);
  fs::create_directory_symlink(folder / "b", folder / "b/loop");
  EXPECT_THAT(error_of(folder.str()), EndsWith("is a link to a folder that holds it"));
  fs::remove(folder / "b/loop");
  write_classes(outside.str(), {{"c", 1}});
  fs::create_symlink(outside / "c/00.png", folder / "a/out.png");
  EXPECT_THAT(error_of(folder.str()),
              HasSubstr("a/out.png: is a link out of the data's folder, to "));
}

TEST(FolderSource, UnreadableFilesSayWhy) {
  TempFolder folder;
  write_classes(folder.str(), {{"a", 3}, {"b", 1}});
  const auto source = open_source({.source = folder.str()});
  const auto reason = [&](int64_t i) {
    std::vector<std::byte> buffer;
    try {
      source->read(i, buffer);
    } catch (const DecodeError& e) {
      return e.reason();
    }
    return BadReason::bad_label;
  };
  fs::remove(folder / "a/00.png");
  write_text(folder / "a/01.png", "");
  fs::remove(folder / "a/02.png");
  fs::create_directory(folder / "a/02.png");
  EXPECT_EQ(reason(0), BadReason::missing);
  EXPECT_EQ(reason(1), BadReason::empty);
  EXPECT_EQ(reason(2), BadReason::directory);
  EXPECT_EQ(reason(3), BadReason::bad_label);
}

TEST(FolderSource, ReadsFilesOfEverySize) {
  TempFolder folder;
  for (const size_t n : {1, 65535, 65536, 65537, 131072, 300000}) {
    write_text(folder / "a/x.jpg", std::string(n, 'x'));
    write_text(folder / "b/x.jpg", "y");
    const auto source = open_source({.source = folder.str()});
    std::vector<std::byte> buffer;
    EXPECT_EQ(source->read(0, buffer).file.size(), n);
    EXPECT_EQ(source->read(1, buffer).file.size(), 1u);
  }
}

TEST(FolderSource, DigestAndDuplicates) {
  TempFolder folder;
  write_classes(folder.str(), {{"a", 3}, {"b", 2}});
  const std::string before = open_source({.source = folder.str()})->digest();
  EXPECT_EQ(before, open_source({.source = folder.str()})->digest());
  fs::copy_file(folder / "a/01.png", folder / "b/02.png");
  const auto source = open_source({.source = folder.str()});
  EXPECT_NE(before, source->digest());
  EXPECT_THAT(source->identical(), ElementsAre(0, 1, 2, 3, 4, 1));
}

TEST(OpenSource, UnknownNamesAndFormats) {
  EXPECT_THAT(error_of("fashion-mnits"), HasSubstr("did you mean \"fashion-mnist\"?"));
  EXPECT_THAT(error_of("zebra"), EndsWith("(known: fashion-mnist)"));
  EXPECT_THAT(error_of(""), HasSubstr("no data given"));
  TempFolder folder;
  write_text(folder / "file.txt", "x");
  EXPECT_THAT(error_of(folder / "file.txt"),
              HasSubstr("must be a folder of pictures, a CSV list, a tar or zip archive, a packed cache, or"));
  EXPECT_THROW(open_source({.source = folder.str(), .format = "parquet"}), std::invalid_argument);
}

TEST(OpenSource, FashionMnistOfDebian) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist")) {
    EXPECT_THAT(error_of("fashion-mnist"), HasSubstr("apt-get install dataset-fashion-mnist"));
    GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  }
  const auto source = open_source({});
  EXPECT_EQ(source->size(), 70'000);
  EXPECT_EQ(source->classes()[9], "Ankle boot");
  EXPECT_EQ(source->label(0), 9);
  EXPECT_EQ(source->role(60'000), Role::test);
}

TEST(OpenData, SplitsWhatIsMissingAndMeasuresTrain) {
  TempFolder folder;
  write_classes(folder.str(), {{"a", 20}, {"b", 40}});
  const DataSet data = open_data({.source = folder.str()}, Key(3));
  EXPECT_EQ(data.train_size(), 48);
  EXPECT_THAT(data.class_counts(Role::val), ElementsAre(2, 4));
  EXPECT_THAT(data.class_counts(Role::test), ElementsAre(2, 4));
  EXPECT_EQ(data.height, 12);
  EXPECT_EQ(data.width, 10);
  EXPECT_EQ(data.channels, 3);
  EXPECT_TRUE(data.same_size);
  ASSERT_EQ(data.normalize.mean.size(), 3u);
  // Against all pixels, by hand.
  double sum = 0;
  std::vector<std::byte> buffer;
  for (const uint64_t id : *data.role(Role::train).ids) {
    const Image image = decode(data.source->read(static_cast<int64_t>(id), buffer).file);
    for (int y = 0; y < 12; ++y) {
      for (int x = 0; x < 10; ++x) {
        sum += image.row_u8(y)[3 * x + 1] / 255.0;
      }
    }
  }
  EXPECT_NEAR(data.normalize.mean[1], sum / (48 * 120), 1e-6);
  EXPECT_EQ(data.split_digest(), open_data({.source = folder.str()}, Key(3)).split_digest());
  EXPECT_NE(data.split_digest(), open_data({.source = folder.str()}, Key(4)).split_digest());
  EXPECT_THAT(data.split_csv(), StartsWith("id,path,role\n0,a/00.png,"));
  EXPECT_EQ(std::ranges::count(data.split_csv(), '\n'), 61);
}

TEST(OpenData, IdenticalPicturesShareARole) {
  TempFolder folder;
  write_classes(folder.str(), {{"a", 20}, {"b", 20}});
  for (int i = 0; i < 20; ++i) {
    fs::copy_file(folder / ("a/" + std::string(i < 10 ? "0" : "") + std::to_string(i) + ".png"),
                  folder / ("a/copy" + std::to_string(i) + ".png"));
  }
  const DataSet data = open_data({.source = folder.str(), .split_val = 0.3}, Key(3));
  const auto same = data.source->identical();
  std::vector<int> role(static_cast<size_t>(data.source->size()));
  for (const RoleView& view : data.roles) {
    for (const uint64_t id : *view.ids) {
      role[id] = static_cast<int>(view.role);
    }
  }
  for (size_t i = 0; i < same.size(); ++i) {
    EXPECT_EQ(role[i], role[static_cast<size_t>(same[i])]);
  }
}

TEST(OpenData, LimitsTrainOnly) {
  TempFolder folder;
  write_classes(folder.str(), {{"a", 20}, {"b", 40}});
  const DataSet data = open_data({.source = folder.str(), .limit = 12}, Key(3));
  EXPECT_THAT(data.class_counts(Role::train), ElementsAre(4, 8));
  EXPECT_EQ(data.role(Role::val).size(), 6);
  EXPECT_EQ(*open_data({.source = folder.str()}, Key(3)).role(Role::val).ids,
            *data.role(Role::val).ids);
}

TEST(OpenData, NamesWhatIsWrong) {
  TempFolder folder;
  write_classes(folder.str(), {{"a", 5}});
  const auto error = [&](const DataOptions& o) {
    return message_of<DataError>([&] { open_data(o, Key(0)); });
  };
  EXPECT_THAT(error({.source = folder.str()}),
              EndsWith("must have at least 2 classes, got 1 (\"a\")"));
  for (int i = 0; i < 5; ++i) {
    write_text(folder / ("b/" + std::to_string(i) + ".jpg"), "text");
    write_text(folder / ("a/0" + std::to_string(i) + ".png"), "text");
  }
  EXPECT_THAT(error({.source = folder.str()}),
              HasSubstr("training pictures tried can be read (first: "));
  EXPECT_THROW(open_data({.source = folder.str(), .split_val = 0.6, .split_test = 0.5}, Key(0)),
               std::invalid_argument);
  EXPECT_THROW(open_data({.source = folder.str(), .limit = 0}, Key(0)), std::invalid_argument);
}

TEST(OpenData, GrayFilesGiveOneChannel) {
  TempFolder folder;
  for (int i = 0; i < 6; ++i) {
    write_bytes(folder / ((i % 2 == 0 ? "a/" : "b/") + std::to_string(i) + ".png"),
                encode_png(test_picture(static_cast<uint64_t>(i), 8, 8, 1)));
  }
  EXPECT_EQ(open_data({.source = folder.str()}, Key(0)).channels, 1);
  write_bytes(folder / "a/c.png", encode_png(test_picture(9, 9, 8, 3)));
  const DataSet mixed =
      open_data({.source = folder.str(), .split_val = 0, .split_test = 0}, Key(0));
  EXPECT_EQ(mixed.channels, 3);
  EXPECT_FALSE(mixed.same_size);
}

}  // namespace
}  // namespace ballast

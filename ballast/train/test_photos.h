#pragma once

#include <string>

#include <ballast/base/key.h>
#include <ballast/image/encode.h>
#include <ballast/image/image.h>
#include <ballast/io/file.h>
#include <ballast/io/test_folder.h>
#include <ballast/train/run_options.h>

namespace ballast {

/// For tests: a folder of 3 classes of 20 pictures of 12 px, each class with a colour of its own and noise.
class TestPhotos {
 public:
  TestPhotos() {
    int64_t label = 0;
    for (const char* name : {"cat", "dog", "owl"}) {
      std::filesystem::create_directories(folder_ / name);
      for (uint64_t i = 0; i < 20; ++i) {
        Image image(12, 12, 3);
        const Key key = Key(3).fold_in(name).fold_in(i);
        for (int64_t p = 0; p < 432; ++p) {
          image.row_u8(p / 36)[p % 36] = static_cast<uint8_t>((p % 3 == label ? 170 : 20) + 60 * uniform(key, static_cast<uint64_t>(p)));
        }
        const std::string digits = std::to_string(i);
        write_file_atomic(folder_ / name / (std::string(3 - digits.size(), '0') + digits + ".png"), encode_png(image));
      }
      ++label;
    }
  }
  const std::filesystem::path& path() const { return folder_.path(); }
  void copy(const char* from, const char* to) const { std::filesystem::copy_file(path() / from, path() / to); }

 private:
  TestFolder folder_;
};

/// For tests: a run on them that takes a moment.
inline RunOptions small_run(const TestPhotos& photos) {
  RunOptions o;
  o.data.source = photos.path().string();
  o.model.name = Auto<std::string>("mlp:1x16");
  o.train.batch_size = 16;
  o.run.threads = Auto<int64_t>(1);
  o.run.workers = Auto<int64_t>(0);
  return o;
}

}  // namespace ballast

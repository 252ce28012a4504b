#include "run_report.h"

#include <algorithm>
#include <optional>

#include <ballast/augment/pipeline.h>
#include <ballast/base/config_file.h>
#include <ballast/base/key.h>
#include <ballast/data/data_set.h>
#include <ballast/data/source.h>
#include <ballast/io/file.h>
#include <ballast/train/page_picture.h>
#include <ballast/train/run_options.h>

namespace ballast {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPictures = 24;  // of each kind

// What the page needs of config.toml, read by the same table that wrote it.
RunOptions read_options(const fs::path& run) {
  RunOptions options;
  OptionTable table = option_table(options);
  apply_toml(table, read_text_file(run / "config.toml"), "config.toml");
  return options;
}

class Gatherer {
 public:
  Gatherer(RunPage& page, const DataSet& data) : page_(page), data_(data) {}

  // Whether the ids of the record are those of this data.
  bool same_data() const {
    const RecordedRun& r = page_.record;
    if (!r.facts.classes.empty() && r.facts.classes != data_.classes) {
      return false;
    }
    for (const SplitRow& row : r.split_rows) {
      if (row.index < 0 || row.index >= data_.source->size() ||
          (!row.path.empty() && row.path != data_.source->name(row.index))) {
        return false;
      }
    }
    return true;
  }

  void labels() {
    for (SplitRow& row : page_.record.split_rows) {
      if (data_.several_labels()) {
        row.labels = data_.source->classes_of(row.index);
      } else if (row.label < 0) {
        row.label = data_.source->label(row.index);
      }
    }
  }

  void predictions() {
    auto it = page_.record.predictions.find(page_.predictions_split);
    if (it == page_.record.predictions.end()) {
      return;
    }
    std::vector<PredictionRow> wrong;
    std::vector<PredictionRow> all = it->second;
    std::copy_if(all.begin(), all.end(), std::back_inserter(wrong),
                 [](const PredictionRow& row) { return !row.right(); });
    auto pick = [&](std::vector<PredictionRow>& rows, bool surest_first,
                    std::vector<PagePicture>& into) {
      size_t n = std::min(rows.size(), 2 * kPictures);  // some may not be readable
      std::partial_sort(rows.begin(), rows.begin() + static_cast<ptrdiff_t>(n), rows.end(),
                        [&](const PredictionRow& a, const PredictionRow& b) {
                          return a.confidence != b.confidence
                                     ? (a.confidence > b.confidence) == surest_first
                                     : a.index < b.index;
                        });
      for (size_t i = 0; i < n && into.size() < kPictures; ++i) {
        if (std::optional<PagePicture> picture =
                stored_picture(*data_.source, rows[i].index, data_.channels, buffer_)) {
          picture->target = rows[i].target;
          picture->pred = rows[i].pred;
          picture->confidence = rows[i].confidence;
          into.push_back(std::move(*picture));
        }
      }
    };
    pick(wrong, true, page_.wrongest);
    pick(all, false, page_.uncertain);
  }

  void first_batch(const Pipeline& pipeline, uint64_t seed, int64_t batch_size) {
    const RoleView& train = data_.role(Role::train);
    auto n = static_cast<uint64_t>(train.size());
    if (n == 0) {
      return;
    }
    Permutation order(Key(seed).fold_in("order").fold_in(uint64_t{0}), n);
    Key epoch = Key(seed).fold_in("augment").fold_in(uint64_t{0});
    for (uint64_t i = 0;
         i < std::min(n, static_cast<uint64_t>(batch_size)) && page_.first_batch.size() < kPictures;
         ++i) {
      uint64_t id = train.id(static_cast<int64_t>(order(i)));
      try {
        Stored stored = data_.source->read(static_cast<int64_t>(id), buffer_);
        Key key = epoch.fold_in(id);
        Image image = stored.encoded() ? pipeline.preview(stored.file, key, data_.channels)
                                       : pipeline.preview(stored.pixels, key, data_.channels);
        PagePicture picture = page_picture(image, "");
        if (data_.several_labels()) {
          picture.note = data_.source->label_text(static_cast<int64_t>(id));
        } else {
          picture.target = data_.source->label(static_cast<int64_t>(id));
        }
        page_.first_batch.push_back(std::move(picture));
      } catch (const DataError&) {
        // An unreadable picture: it is listed among the bad samples.
      }
    }
  }

 private:
  RunPage& page_;
  const DataSet& data_;
  std::vector<std::byte> buffer_;
};

void gather_pictures(RunPage& page, const DataSet* open) {
  const char* gone = "The pictures cannot be shown: ";
  try {
    RunOptions options = read_options(page.record.folder);
    std::optional<DataSet> own;
    if (!open) {
      own = open_data(data_options(options), Key(options.run.seed));
      open = &*own;
    }
    Gatherer gatherer(page, *open);
    if (!gatherer.same_data()) {
      page.pictures_note = std::string(gone) + "the data at " + options.data.source +
                           " is not what the run was trained on.";
      return;
    }
    gatherer.labels();
    gatherer.predictions();
    if (!options.augment.train.is_auto()) {
      gatherer.first_batch(Pipeline::parse(*options.augment.train),
                           options.run.data_seed.value_or(options.run.seed),
                           options.train.batch_size);
    }
  } catch (const std::exception& e) {
    page.pictures_note = std::string(gone) + e.what();
  }
}

fs::path write_pages(const std::vector<RunPage>& pages, const WriteReportOptions& options,
                     const fs::path& usual) {
  fs::path out = options.out.empty() ? usual : options.out;
  write_file_atomic(out, report_page(pages, {.no_times = options.no_times}));
  return out;
}

}  // namespace

RunPage gather_run_page(const fs::path& run, const DataSet* data, bool pictures) {
  RunPage page{.record = read_run_record(run),
               .predictions_split = {},
               .wrongest = {},
               .uncertain = {},
               .first_batch = {},
               .pictures_note = {}};
  for (const char* split : {"test", "val"}) {
    if (page.record.predictions.contains(split)) {
      page.predictions_split = split;
      break;
    }
  }
  if (pictures) {
    gather_pictures(page, data);
  }
  return page;
}

fs::path write_report(const std::vector<fs::path>& runs, const WriteReportOptions& options) {
  check(!runs.empty(), "report", "at least one run is required, got none");
  std::vector<RunPage> pages;
  for (const fs::path& run : runs) {
    pages.push_back(gather_run_page(run, nullptr, options.pictures));
  }
  return write_pages(pages, options,
                     runs.size() == 1 ? runs.front() / "report.html" : fs::path("report.html"));
}

fs::path write_report(const fs::path& run, const WriteReportOptions& options) {
  return write_report(std::vector<fs::path>{run}, options);
}

fs::path write_report(const fs::path& run, const DataSet& data, const WriteReportOptions& options) {
  return write_pages({gather_run_page(run, &data, options.pictures)}, options, run / "report.html");
}

}  // namespace ballast

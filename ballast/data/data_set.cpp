#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/sha256.h>
#include <ballast/base/thread_pool.h>
#include <ballast/data/bag.h>
#include <ballast/data/csv.h>
#include <ballast/data/data_set.h>
#include <ballast/data/split.h>
#include <ballast/image/decode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

namespace ballast {
namespace {

// How much of a set of files is looked at.
constexpr int64_t kMostFiles = 1000;
constexpr int64_t kMostPixels = 50'000'000;

struct Sums {
  int64_t pixels = 0;
  uint64_t sum[3] = {}, squares[3] = {};

  void add(ImageView image, int32_t channels) {
    for (int32_t y = 0; y < image.h; ++y) {
      const uint8_t* row = image.row_u8(y);
      for (int32_t x = 0; x < image.w; ++x) {
        for (int32_t c = 0; c < channels; ++c) {
          // A gray picture among colour ones counts for each channel.
          const uint64_t v = row[x * image.c + std::min(c, image.c - 1)];
          sum[c] += v;
          squares[c] += v * v;
        }
      }
    }
    pixels += int64_t{image.h} * image.w;
  }
  void add(const Sums& other) {
    pixels += other.pixels;
    for (int c = 0; c < 3; ++c) {
      sum[c] += other.sum[c];
      squares[c] += other.squares[c];
    }
  }
};

Normalize normalize_of(const Sums& sums, int32_t channels) {
  Normalize result;
  const auto n = static_cast<double>(sums.pixels);
  for (int32_t c = 0; c < channels; ++c) {
    const double mean = static_cast<double>(sums.sum[c]) / n;
    const double variance = std::max(0.0, static_cast<double>(sums.squares[c]) / n - mean * mean);
    result.mean.push_back(static_cast<float>(mean / 255.0));
    // A constant channel must not be divided by zero.
    result.std.push_back(static_cast<float>(std::max(std::sqrt(variance), 1.0) / 255.0));
  }
  return result;
}

int32_t median(std::vector<int32_t> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void measure_pixels(DataSet& data, const std::vector<uint64_t>& ids) {
  Sums sums;
  std::vector<std::byte> unused;
  for (const uint64_t id : ids) {
    const ImageView image = data.source->read(static_cast<int64_t>(id), unused).pixels;
    sums.add(image, data.source->channels());
    data.height = image.h;
    data.width = image.w;
  }
  data.channels = data.source->channels();
  data.normalize = normalize_of(sums, data.channels);
}

void measure_files(DataSet& data, const std::vector<uint64_t>& ids, Key key) {
  const Permutation order(key, ids.size());
  const int64_t n = std::min<int64_t>(kMostFiles, static_cast<int64_t>(ids.size()));
  ThreadPool pool(usable_cores());
  const auto threads = static_cast<size_t>(pool.size());
  std::vector<std::vector<std::byte>> buffers(threads);
  std::vector<ImageInfo> infos(static_cast<size_t>(n));
  std::vector<std::string> errors(static_cast<size_t>(n));
  const auto id_of = [&](int64_t k) {
    return static_cast<int64_t>(ids[order(static_cast<uint64_t>(k))]);
  };
  pool.run(n, [&](int64_t k, int thread) {
    try {
      const Stored stored = data.source->read(id_of(k), buffers[static_cast<size_t>(thread)]);
      ImageInfo& info = infos[static_cast<size_t>(k)];
      if (stored.encoded()) {
        info = read_info(stored.file);
      } else {
        info.h = stored.pixels.h;
        info.w = stored.pixels.w;
        info.c = stored.pixels.c;
      }
    } catch (const DecodeError& e) {
      errors[static_cast<size_t>(k)] = data.source->name(id_of(k)) + ": " +
                                       std::string(to_string(e.reason())) + ": " + e.detail();
    }
  });
  std::vector<int32_t> heights;
  std::vector<int32_t> widths;
  bool all_gray = true;
  int64_t pixels = 0;
  int64_t decode =
      0;  // the first so many are decoded, which depends on sizes and not on the machine
  for (int64_t k = 0; k < n; ++k) {
    const ImageInfo& info = infos[static_cast<size_t>(k)];
    if (info.w == 0) {
      continue;
    }
    heights.push_back(info.h);
    widths.push_back(info.w);
    all_gray = all_gray && info.c == 1;
    if (pixels < kMostPixels) {
      pixels += int64_t{info.h} * info.w;
      decode = k + 1;
    }
  }
  check<DataError>(!heights.empty(), "data", "none of the ", n,
                   " training pictures tried can be read (first: ", errors.front(), ")");
  data.height = median(heights);
  data.width = median(widths);
  data.same_size =
      std::all_of(heights.begin(), heights.end(), [&](int32_t h) { return h == data.height; }) &&
      std::all_of(widths.begin(), widths.end(), [&](int32_t w) { return w == data.width; });
  data.channels = all_gray ? 1 : 3;
  std::vector<Sums> sums(threads);
  std::vector<Image> images(threads);
  pool.run(decode, [&](int64_t k, int thread) {
    const auto t = static_cast<size_t>(thread);
    if (infos[static_cast<size_t>(k)].w == 0) {
      return;
    }
    try {
      const Stored stored = data.source->read(id_of(k), buffers[t]);
      sums[t].add(
          stored.encoded()
              ? decode_into(stored.file, {.channels = data.channels, .roi = {}, .limits = {}}, images[t])
              : stored.pixels,
          data.channels);
    } catch (const DecodeError&) {  // the loader names it
    }
  });
  Sums total;
  for (const Sums& s : sums) {
    total.add(s);
  }
  check<DataError>(total.pixels > 0, "data", "none of the ", n,
                   " training pictures tried can be decoded");
  data.normalize = normalize_of(total, data.channels);
}

/// Sets of labels that few pictures have count as one where pictures are drawn by label: a tenth of one picture is none.
void join_rare(std::vector<int64_t>& labels) {
  constexpr int64_t kFew = 20;
  std::map<int64_t, int64_t> counts;
  for (const int64_t y : labels) ++counts[y];
  for (int64_t& y : labels) {
    if (counts[y] < kFew) y = -1;
  }
}

std::string percent(double share) {
  std::ostringstream out;
  out << 100.0 * share << " %";
  return out.str();
}

}  // namespace

std::vector<int64_t> DataSet::class_counts(Role r) const {
  std::vector<int64_t> counts(classes.size());
  for (const uint64_t id : *role(r).ids) {
    for (const int32_t c : source->classes_of(static_cast<int64_t>(id))) ++counts[static_cast<size_t>(c)];
  }
  return counts;
}

std::string DataSet::split_digest() const {
  Sha256 hash;
  for (const RoleView& view : roles) {
    hash.update(to_string(view.role));
    hash.update("\n");
    for (const uint64_t id : *view.ids) {
      hash.update(std::to_string(id) + '\n');
    }
  }
  if (hold.size() > 0) {
    hash.update("hold\n");
    for (const uint64_t id : *hold.ids) {
      hash.update(std::to_string(id) + '\n');
    }
  }
  return hex(hash.finish());
}

std::string DataSet::split_csv() const {
  std::vector<std::pair<uint64_t, Role>> rows;
  for (const RoleView& view : roles) {
    for (const uint64_t id : *view.ids) {
      rows.emplace_back(id, view.role);
    }
  }
  for (const uint64_t id : *hold.ids) {
    rows.emplace_back(id, Role::hold);
  }
  std::sort(rows.begin(), rows.end());
  std::string csv = "id,path,role\n";
  for (const auto& [id, role_of] : rows) {
    csv += std::to_string(id) + ',' + csv_field(source->name(static_cast<int64_t>(id))) + ',';
    csv += to_string(role_of);
    csv += '\n';
  }
  return csv;
}

DataSet open_data(const DataOptions& options, Key run_seed) {
  const Key seed = options.split_seed ? Key(*options.split_seed) : run_seed;
  const Bag bag = parse_bag(options.bag);
  check(options.split_val >= 0 && options.split_test >= 0 &&
            options.split_val + options.split_test < 1,
        "data", "split shares must be >= 0 and sum to less than 1, got val ", options.split_val,
        " and test ", options.split_test);
  check(options.split_hold >= 0 && options.split_hold < 1, "data", "hold must be in [0, 1), got ", options.split_hold);
  check(options.split_hold == 0 || bag.kind != Bag::Kind::fold, "data",
        "hold must be 0 with a fold, whose pictures are held out already, got ", options.split_hold);
  check(!options.limit || *options.limit >= 1, "data", "limit must be at least 1, got ",
        options.limit.value_or(0));
  DataSet data;
  data.source = open_source(options);
  data.classes = data.source->classes();
  data.format = data.source->format();
  data.notes = data.source->notes();
  check<DataError>(data.classes.size() >= 2, "data", options.source,
                   ": must have at least 2 classes, got ", data.classes.size(),
                   data.classes.empty() ? "" : " (\"" + data.classes.front() + "\")");

  std::array<std::vector<uint64_t>, kRoles> ids;
  for (int64_t i = 0; i < data.source->size(); ++i) {
    ids[static_cast<size_t>(data.source->role(i).value_or(Role::train))].push_back(
        static_cast<uint64_t>(i));
  }
  auto& train = ids[static_cast<size_t>(Role::train)];
  auto& val = ids[static_cast<size_t>(Role::val)];
  auto& test = ids[static_cast<size_t>(Role::test)];
  const double share_val = val.empty() && !train.empty() ? options.split_val : 0.0;
  const double share_test = test.empty() && !train.empty() ? options.split_test : 0.0;
  const auto labels_of = [&](const std::vector<uint64_t>& list) {
    std::vector<int64_t> labels;
    for (const uint64_t id : list) {
      labels.push_back(data.source->label(static_cast<int64_t>(id)));
    }
    if (data.source->several_labels()) join_rare(labels);
    return labels;
  };
  const auto pick = [](const std::vector<uint64_t>& list, const std::vector<int64_t>& positions) {
    std::vector<uint64_t> result;
    for (const int64_t p : positions) {
      result.push_back(list[static_cast<size_t>(p)]);
    }
    return result;
  };
  const std::vector<int64_t> same = share_val > 0 || share_test > 0 || options.split_hold > 0 || bag.kind == Bag::Kind::fold
                                        ? data.source->identical()
                                        : std::vector<int64_t>();
  const auto groups_of = [&](const std::vector<uint64_t>& list) {
    std::vector<int64_t> groups;
    for (const uint64_t id : list) {
      groups.push_back(same.empty() ? static_cast<int64_t>(id) : same[id]);
    }
    return groups;
  };
  if (share_val > 0 || share_test > 0) {
    const SplitParts parts = split_stratified(labels_of(train), groups_of(train), share_val, share_test, seed.fold_in("split"));
    if (share_val > 0) {
      val = pick(train, parts.val);
      data.notes.push_back("val is " + percent(share_val) + " of train (" +
                           std::to_string(val.size()) + " pictures), chosen by key");
    }
    if (share_test > 0) {
      test = pick(train, parts.test);
      data.notes.push_back("test is " + percent(share_test) + " of train (" +
                           std::to_string(test.size()) + " pictures), chosen by key");
    }
    train = pick(train, parts.rest);
  }
  std::vector<uint64_t> hold;
  if (options.split_hold > 0 && !train.empty()) {
    const SplitParts parts = split_stratified(labels_of(train), groups_of(train), options.split_hold, 0, seed.fold_in("hold"));
    hold = pick(train, parts.val);
    data.notes.push_back("hold is " + percent(options.split_hold) + " of train (" + std::to_string(hold.size()) + " pictures), chosen by key");
    train = pick(train, parts.rest);
  }
  if (options.limit && !train.empty()) {
    const size_t before = train.size();
    train = pick(train, limit_stratified(labels_of(train), *options.limit, seed.fold_in("limit")));
    if (train.size() < before) {
      data.notes.push_back("train is limited to " + std::to_string(train.size()) + " of " +
                           std::to_string(before) + " pictures");
    }
  }
  if (bag.kind != Bag::Kind::none && !train.empty()) {
    const BagParts parts =
        draw_bag(bag, labels_of(train), groups_of(train), run_seed.fold_in("bag"), seed.fold_in("folds"));
    if (bag.kind == Bag::Kind::fold) hold = pick(train, parts.left_out);
    train = pick(train, parts.train);
    data.notes.push_back("trains on the bag " + options.bag + " (" + std::to_string(train.size()) + " pictures)");
  }
  const auto drawn_by_weight = [&](uint64_t id) { return data.source->weight(static_cast<int64_t>(id)) != data.source->weight(static_cast<int64_t>(train[0])); };
  if (std::ranges::any_of(train, drawn_by_weight)) {
    data.notes.push_back("training pictures are drawn by weight; val and test count each once");
  }
  data.hold = {data.source, Role::hold, std::make_shared<const std::vector<uint64_t>>(std::move(hold))};
  for (size_t r = 0; r < kRoles; ++r) {
    data.roles[r] = {data.source, static_cast<Role>(r),
                     std::make_shared<const std::vector<uint64_t>>(std::move(ids[r]))};
  }
  // A source that has only a part for evaluation is measured there.
  const auto largest = std::find_if(data.roles.begin(), data.roles.end(),
                                    [](const RoleView& view) { return view.size() > 0; });
  check<DataError>(largest != data.roles.end(), "data", options.source, ": holds no picture");
  if (data.source->channels() > 0) {
    measure_pixels(data, *largest->ids);
  } else {
    measure_files(data, *largest->ids, seed.fold_in("measure"));
  }
  return data;
}

}  // namespace ballast

#include "torch_commands.h"

#include <algorithm>

#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/drop/drop_block.h>
#include <ballast/drop/drop_connect.h>
#include <ballast/drop/drop_path.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/patch_dropout.h>
#include <ballast/drop/spatial_dropout.h>
#include <ballast/image/encode.h>
#include <ballast/io/file.h>
#include <ballast/report/table.h>

namespace ballast::cli {
namespace {

constexpr int64_t kSamples = 2, kChannels = 4, kTiles = kSamples * kChannels;

struct MaskRow {
  std::string name;
  torch::Tensor kept;  // (kTiles, side, side) bool
};

// Ones pass where they are kept.
template <class Drop>
torch::Tensor of_maps(int64_t side, const Drop& drop) {
  return (drop(torch::ones({kSamples, kChannels, side, side})) != 0).view({kTiles, side, side});
}

// Of single weights: those that a gradient reaches.
torch::Tensor of_weights(int64_t side, double p, Key key) {
  std::vector<torch::Tensor> tiles;
  for (int64_t row = 0; row < kTiles; ++row) {
    const torch::Tensor weight = torch::ones({side, side}, torch::requires_grad());
    drop_connect_linear(torch::ones({1, side}), weight, {}, {.p = p}, true, key, row).sum().backward();
    tiles.push_back(weight.grad() != 0);
  }
  return at::stack(tiles);
}

torch::Tensor of_patches(int64_t side, double p, Key key) {
  const int64_t patch = std::max<int64_t>(1, side / 7), count = (side + patch - 1) / patch;
  const torch::Tensor places =
      patch_dropout(torch::ones({kTiles, count * count, 1}), {.p = p, .num_prefix_tokens = 0}, true, key).indices;
  torch::Tensor kept = torch::ones({kTiles, count * count}, torch::kBool);
  if (places.defined()) kept = torch::zeros_like(kept).scatter(1, places, true);
  kept = kept.view({kTiles, count, count}).repeat_interleave(patch, 1).repeat_interleave(patch, 2);
  return kept.slice(1, 0, side).slice(2, 0, side);
}

Image picture(const std::vector<MaskRow>& rows, int64_t side) {
  const int64_t zoom = std::max<int64_t>(1, 56 / side), tile = side * zoom, gap = 6;
  const auto height = static_cast<int32_t>(static_cast<int64_t>(rows.size()) * (tile + gap) + gap);
  const auto width = static_cast<int32_t>(kTiles * (tile + gap) + 2 * gap);
  Image image(height, width, 1);
  for (int32_t y = 0; y < height; ++y) std::fill_n(image.row_u8(y), width, uint8_t{140});
  for (size_t r = 0; r < rows.size(); ++r) {
    const torch::Tensor kept = rows[r].kept.contiguous();
    const bool* data = kept.data_ptr<bool>();
    for (int64_t t = 0; t < kTiles; ++t) {
      // A wider gap between the samples.
      const int64_t left = gap + t * (tile + gap) + (t >= kChannels ? gap : 0), top = gap + static_cast<int64_t>(r) * (tile + gap);
      for (int64_t y = 0; y < tile; ++y) {
        uint8_t* line = image.row_u8(top + y) + left;
        for (int64_t x = 0; x < tile; ++x) line[x] = data[(t * side + y / zoom) * side + x / zoom] ? 255 : 20;
      }
    }
  }
  return image;
}

}  // namespace

int drop_preview_with_torch(const Session& session, const DropPreviewRequest& r) {
  const Key key = Key(r.seed).fold_in("drop");
  const auto own = [&](const char* stem) { return key.fold_in(stem); };
  const int64_t side = r.side;
  using torch::Tensor;
  const std::vector<MaskRow> rows = {
      {"dropout", of_maps(side, [&](const Tensor& x) { return dropout(x, {.p = r.p}, true, own("dropout")); })},
      {"spatial_dropout", of_maps(side, [&](const Tensor& x) { return spatial_dropout(x, {.p = r.p}, true, own("spatial_dropout")); })},
      {"drop_block", of_maps(side, [&](const Tensor& x) {
         return drop_block(x, {.p = r.p, .block_size = r.block_size}, true, own("drop_block"));
       })},
      {"drop_block, shared", of_maps(side, [&](const Tensor& x) {
         return drop_block(x, {.p = r.p, .block_size = r.block_size, .per_channel = false}, true, own("drop_block"));
       })},
      {"drop_path", of_maps(side, [&](const Tensor& x) { return drop_path(x, {.drop_prob = r.p}, true, own("drop_path")); })},
      {"drop_connect", of_weights(side, r.p, own("drop_connect"))},
      {"patch_dropout", of_patches(side, r.p, own("patch_dropout"))},
  };
  write_file_atomic(r.out, encode_png(picture(rows, side)));
  Table table({{"row", Table::Align::right}, {"technique", Table::Align::left}, {"dropped here", Table::Align::right}});
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (size_t i = 0; i < rows.size(); ++i) {
    const double share = 1 - rows[i].kept.to(torch::kDouble).mean().item<double>();
    table.row({std::to_string(i + 1), rows[i].name, format_fixed(100 * share, 1) + " %"});
    all.push_back({{"row", i + 1}, {"technique", rows[i].name}, {"dropped", share}});
  }
  session.print(table.text() + "\n" + r.out + ": asked for " + format_fixed(100 * r.p, 1) + " %\n");
  session.document({{"file", r.out}, {"p", r.p}, {"rows", all}});
  return kDone;
}

}  // namespace ballast::cli

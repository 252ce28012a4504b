#include <ballast/train/tensor_batch.h>

#include <ATen/Functions.h>

namespace ballast {

torch::Tensor batch_pixels(const BatchSlot& slot) {
  const int64_t n = slot.n, c = slot.c, h = slot.h, w = slot.w;
  if (slot.layout == Layout::chw) {
    return torch::from_blob(slot.data, {n, c, h, w}, torch::kFloat);
  }
  return torch::from_blob(slot.data, {n, c, h, w}, {h * w * c, 1, w * c, c}, torch::kFloat);
}

torch::Tensor batch_labels(const BatchSlot& slot) {
  torch::Tensor y = torch::empty({slot.n}, torch::kLong);
  std::copy_n(slot.label.begin(), slot.n, y.data_ptr<int64_t>());
  return y;
}

torch::Tensor label_matrix(const LabelSets& sets, int64_t classes) {
  torch::Tensor rows = torch::zeros({static_cast<int64_t>(sets.size()), classes});
  float* row = rows.data_ptr<float>();
  for (const std::vector<int32_t>& set : sets) {
    for (const int32_t c : set) row[c] = 1;
    row += classes;
  }
  return rows;
}

TensorBatch tensor_batch(const BatchSlot& slot) {
  TensorBatch batch{batch_pixels(slot), batch_labels(slot), {}, {}};
  if (slot.mixed) {
    batch.partner = torch::empty({slot.n}, torch::kLong);
    batch.lam = torch::empty({slot.n}, torch::kFloat);
    for (int64_t i = 0; i < slot.n; ++i) {
      const auto r = static_cast<size_t>(i);
      batch.partner.data_ptr<int64_t>()[i] = slot.label[static_cast<size_t>(slot.partner[r])];
      batch.lam.data_ptr<float>()[i] = slot.lambda[r];
    }
  }
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < slot.n; ++i) {
    if (slot.weight[static_cast<size_t>(i)] != 0) {
      kept.push_back(i);
    }
  }
  if (static_cast<int64_t>(kept.size()) < slot.n) {
    const torch::Tensor rows = torch::tensor(kept, torch::kLong);
    const auto format = slot.layout == Layout::hwc ? torch::MemoryFormat::ChannelsLast : torch::MemoryFormat::Contiguous;
    batch.x = batch.x.index_select(0, rows).contiguous(format);
    batch.y = batch.y.index_select(0, rows);
    if (slot.mixed) {
      batch.partner = batch.partner.index_select(0, rows);
      batch.lam = batch.lam.index_select(0, rows);
    }
  }
  return batch;
}

}  // namespace ballast

#pragma once

#include <cstdint>
#include <vector>

#include <torch/types.h>

#include <ballast/augment/pipeline.h>

namespace ballast {

/// Augments a batch of pictures, each with parameters of its own.
///
///   Pipeline p = Pipeline::parse("random_crop(32, padding=4) | hflip | jitter(0.4, 0.4)");
///   p.set_normalize(imagenet_normalize());
///   torch::Tensor y = augment(x, p, Key(seed).fold_in("augment").fold_in(epoch), ids);
///
/// Shape    x: (N, C, H, W) uint8 on the CPU, C 1, 3 or 4, contiguous or channels_last (other strides are copied first).
///          Result: (N, C, h, w) float32, normalized, in x's memory format; h and w are what the pipeline gives.
/// Random   picture i has key `key`.fold_in(ids[i]), as in a training run; without ids its place in the batch. The result does
///          not depend on the number of threads.
/// Errors   std::invalid_argument: `[augment] x must be uint8 (N, C, H, W), got ...`, ids that are not N, pictures of the result of
///          unequal size.
torch::Tensor augment(const torch::Tensor& x, const Pipeline& pipeline, Key key, const std::vector<int64_t>& ids = {});

// In Python, from the library's .so, without a binding:
//
//   torch.ops.load_library("libballast_torch.so")
//   y = torch.ops.ballast.augment(x, "random_crop(32, padding=4) | hflip", seed=1, epoch=3, ids=ids, mean=[...], std=[...])
//
// is augment() with key Key(seed).fold_in("augment").fold_in(epoch): the very pixels of `ballast train` with that seed. Without mean and std
// the values are x / 255.

}  // namespace ballast

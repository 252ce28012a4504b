// Augments a picture with its boxes, then a batch of tensors.
#include <cstdio>

#include <ATen/Functions.h>

#include <ballast/train/tensor_augment.h>

int main() {
  using namespace ballast;
  Sample s{.image = Image(100, 120, 3), .name = "made up"};
  s.boxes.add(10, 20, 60, 80, 4);
  Pipeline::parse("horizontal_flip(1) | center_crop(80) | rotate(90..90)").apply(s, Key(7));
  std::printf("box of class %d: %g %g %g %g in %d x %d\n", s.boxes.label[0], s.boxes.x1[0], s.boxes.y1[0], s.boxes.x2[0],
              s.boxes.y2[0], s.image.w(), s.image.h());

  const torch::Tensor x = at::full({8, 3, 32, 32}, 128, torch::kByte);
  Pipeline p = Pipeline::parse("random_crop(32, padding=4) | hflip | jitter(0.4, 0.4)");
  p.set_normalize(imagenet_normalize());
  const torch::Tensor y = augment(x, p, Key(0).fold_in("augment").fold_in(uint64_t{3}));
  std::printf("batch of %d x %d x %d x %d floats\n", int(y.size(0)), int(y.size(1)), int(y.size(2)), int(y.size(3)));
}

#include <ballast/augment/catalog.h>

#include <array>

namespace ballast {

namespace {
// Numbers enter keys: a new operation takes a new one.
constexpr std::array<AugmentEntry, 6> kEntries = {{
    {"horizontal_flip", "hflip", 1, "p=0.5", "mirrors left to right with probability p", true},
    {"resize", "", 16, "size, max_size, mode=short|long|exact, interpolation=bilinear, antialias=true",
     "resamples: the short side to size, or to [height, width]", false},
    {"random_resized_crop", "rrc", 17,
     "size, scale=[0.08, 1], ratio=[0.75, 1.3333], interpolation=bilinear|bicubic|...|random, antialias=true",
     "a crop of random area and aspect, resampled to size", true},
    {"random_crop", "", 18,
     "size, padding=0, pad_if_needed=false, padding_mode=constant|edge|reflect|symmetric|wrap, fill=0",
     "pads, then crops at a random place", true},
    {"center_crop", "", 19, "size", "crops the middle; smaller pictures are padded", false},
    {"normalize", "", 60, "imagenet|dataset|none, or mean, std", "(x / 255 - mean) / std per channel, last step",
     false},
}};
}  // namespace

std::span<const AugmentEntry> augment_catalog() { return kEntries; }

}  // namespace ballast

#pragma once

// No torch in this header.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ballast/image/image.h>
#include <ballast/report/page.h>

namespace ballast {

class Source;

/// A picture for a page: at most 128 px wide and high, small ones without loss.
PagePicture page_picture(ImageView view, std::string name);

/// Picture `id` as it is stored, brought to so many channels (0: as it is); nothing if there is none
/// or it cannot be read. `buffer` keeps its memory from call to call.
std::optional<PagePicture> stored_picture(const Source& source, int64_t id, int32_t channels,
                                          std::vector<std::byte>& buffer);

}  // namespace ballast

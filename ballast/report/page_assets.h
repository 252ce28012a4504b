#pragma once

#include <string_view>

namespace ballast {

/// Files that stand in every page, embedded when the library is built. uPlot: MIT, third_party/uplot.
extern const std::string_view kPageCss, kPageJs, kUplotCss, kUplotJs;

}  // namespace ballast

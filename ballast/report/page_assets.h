#pragma once

#include <string_view>

namespace ballast {

// Files that stand in every page, embedded when the library is built. uPlot: MIT, third_party/uplot.

extern const std::string_view kPageCss, kUplotCss;
/// uPlot, then page.js; and the SHA-256 of just these bytes in hexadecimal digits, for the page's security policy.
extern const std::string_view kPageScript, kPageScriptSha256;

}  // namespace ballast

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// Edits that turn `a` into `b`: insertions, deletions, substitutions and swaps of two neighbours, each of cost 1
/// (Damerau-Levenshtein, restricted: no piece is edited twice). Bytes, case counts.
size_t edit_distance(std::string_view a, std::string_view b);

/// The name of `candidates` nearest to `name`, or "" if none is within max(2, length of `name` / 3) edits or if the
/// nearest would replace every letter. The first of equally near ones; upper and lower case are equally near.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);
std::string nearest_name(std::string_view name, std::span<const std::string_view> candidates);

/// "; did you mean \"x\"?" with the nearest name, or "" if nothing is near: for the end of an error message.
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates);
std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace ballast

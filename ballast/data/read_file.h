#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// All bytes of a file.
/// Errors: DataError `[stem] PATH: no such file or directory` and alike.
std::vector<std::byte> read_whole_file(const std::string& path, std::string_view stem);

/// Reads file `name` of the folder open as `folder` (AT_FDCWD: any path) into `buffer`, which only
/// grows; returns the number of bytes. Three system calls for a file that fits. Errors: DecodeError
/// (missing, unreadable, empty, directory, too_large from 256 MiB).
size_t read_file_at(int folder, const char* name, std::vector<std::byte>& buffer);

}  // namespace ballast

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// A field of a CSV line as RFC 4180 quotes it.
std::string csv_field(std::string_view text);

/// Reads CSV as RFC 4180 has it: fields between commas, in double quotes where they hold commas, quotes (doubled) or new
/// lines; lines end with LF or CRLF. A byte order mark and empty lines are passed over. on_row gets the fields and the line,
/// from 1, at which the row begins.
/// Errors   DataError `[csv] LABEL: line 7: ...`: a quote inside a field without quotes, text behind a closing quote, a quote
///          that is not closed, a zero byte, more than 1,000 fields or 1 MiB in a row.
void parse_csv(std::string_view text, std::string_view label,
               const std::function<void(const std::vector<std::string>& fields, int64_t line)>& on_row);

}  // namespace ballast

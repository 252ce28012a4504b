#pragma once

#include <string>

#include <ballast/data/data_check.h>

namespace ballast::cli {

/// The page of `ballast data check`: what was found, with the pictures it is about.
std::string data_check_page(const DataSet& data, const DataCheckReport& report, const std::string& name);

}  // namespace ballast::cli

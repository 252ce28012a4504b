#include <ballast/base/duration.h>

#include <charconv>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {
namespace {
std::string shortest(double x) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, x).ptr};
}
}  // namespace

Duration Duration::parse(std::string_view text, Unit bare) {
  double amount = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const bool number = error == std::errc() && std::isfinite(amount) && amount >= 0;
  Duration d{amount, bare};
  if (unit == "ep") {
    d.unit = Unit::epochs;
  } else if (unit == "st") {
    d.unit = Unit::steps;
  } else if (unit == "%") {
    d.unit = Unit::percent;
  } else if (unit == "s" || unit == "m" || unit == "h") {
    d.unit = Unit::seconds;
    d.amount *= unit == "s" ? 1 : unit == "m" ? 60 : 3600;
  } else {
    check(number && unit.empty(), "duration", "a duration is a number with ep, st, %, s, m or h, got \"", text, "\"");
  }
  check(number, "duration", "a duration is a number with ep, st, %, s, m or h, got \"", text, "\"");
  return d;
}

std::string Duration::text() const {
  switch (unit) {
    case Unit::epochs: return shortest(amount) + "ep";
    case Unit::steps: return shortest(amount) + "st";
    case Unit::percent: return shortest(amount) + "%";
    case Unit::seconds: break;
  }
  if (amount >= 3600 && std::fmod(amount, 3600) == 0) {
    return shortest(amount / 3600) + "h";
  }
  if (amount >= 60 && std::fmod(amount, 60) == 0) {
    return shortest(amount / 60) + "m";
  }
  return shortest(amount) + "s";
}

int64_t Duration::steps(int64_t steps_per_epoch, int64_t total) const {
  check(!is_time(), "duration", "steps, epochs or % are required here, got ", text());
  const double one = unit == Unit::steps ? 1 : unit == Unit::epochs ? double(steps_per_epoch) : double(total) / 100;
  return std::llround(amount * one);
}

double Duration::seconds() const {
  check(is_time(), "duration", "a time such as 45m is required here, got ", text());
  return amount;
}

}  // namespace ballast

#include "html.h"

#include <algorithm>

#include <ballast/base/check.h>

namespace ballast {
namespace {

bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == ':';
  });
}

// Bytes of the valid UTF-8 sequence at the start of `s`; 0 if there is none.
size_t sequence_length(std::string_view s) {
  auto at = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  unsigned first = at(0);
  auto follow = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return at(i) >= low && at(i) <= high;
  };
  if (first < 0x80) {
    return 1;
  }
  if (first >= 0xc2 && first <= 0xdf) {
    return follow(1) ? 2 : 0;
  }
  if (first >= 0xe0 && first <= 0xef) {
    return follow(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf) && follow(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    return follow(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf) && follow(2) &&
                   follow(3)
               ? 4
               : 0;
  }
  return 0;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    size_t n = sequence_length(text);
    if (n == 0) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    char c = text.front();
    if (n > 1) {
      // C1 controls (U+0080..U+009F) have no place in a page.
      bool control = n == 2 && c == '\xc2' && static_cast<unsigned char>(text[1]) < 0xa0;
      if (!control) {
        out.append(text.substr(0, n));
      }
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else if (static_cast<unsigned char>(c) >= 0x20 ? c != 0x7f : c == '\n' || c == '\t') {
      out += c;
    }
    text.remove_prefix(n);
  }
  return out;
}

void Html::tag(std::string_view name, Attributes attributes) {
  check(is_name(name), "html", "a tag's name is required, got \"", name, "\"");
  out_ += '<';
  out_ += name;
  for (const auto& [key, value] : attributes) {
    check(is_name(key), "html", "an attribute's name is required, got \"", key, "\"");
    out_ += ' ';
    out_ += key;
    out_ += "=\"";
    out_ += escape_html(value);
    out_ += '"';
  }
  out_ += '>';
}

Html& Html::open(std::string_view name, Attributes attributes) {
  tag(name, attributes);
  open_.emplace_back(name);
  return *this;
}

Html& Html::close() {
  check(!open_.empty(), "html", "an open element is required, got none");
  out_ += "</" + open_.back() + ">";
  open_.pop_back();
  return *this;
}

Html& Html::single(std::string_view name, Attributes attributes) {
  tag(name, attributes);
  return *this;
}

Html& Html::element(std::string_view name, std::string_view content, Attributes attributes) {
  return open(name, attributes).text(content).close();
}

Html& Html::text(std::string_view content) {
  out_ += escape_html(content);
  return *this;
}

Html& Html::add(const Html& other) {
  out_ += other.str();
  return *this;
}

Html& Html::style(std::string_view css) {
  check(css.find("</") == std::string_view::npos, "html",
        "a style sheet without \"</\" is required");
  out_.append("<style>").append(css).append("</style>");
  return *this;
}

Html& Html::script(std::string_view js) {
  check(js.find("</script") == std::string_view::npos && js.find("<!--") == std::string_view::npos,
        "html", "a script without \"</script\" and \"<!--\" is required");
  out_.append("<script>").append(js).append("</script>");
  return *this;
}

Html& Html::json(std::string_view id, std::string_view data) {
  tag("script", {{"type", "application/json"}, {"id", std::string(id)}});
  for (char c : data) {
    if (c == '<') {
      out_ += "\\u003c";
    } else {
      out_ += c;
    }
  }
  out_ += "</script>";
  return *this;
}

const std::string& Html::str() const {
  check(open_.empty(), "html", "every element must be closed, got open <",
        open_.empty() ? "" : open_.back(), ">");
  return out_;
}

}  // namespace ballast

#include <ballast/base/check.h>
#include <ballast/data/box_set.h>

#include <charconv>

namespace ballast {
namespace {

constexpr int kMostDepth = 64;

class Parser {
 public:
  Parser(std::string_view text, std::string_view label) : text_(text), label_(label) {}

  XmlElement document() {
    if (text_.starts_with("\xef\xbb\xbf")) {
      at_ = 3;
    }
    pass_over();
    XmlElement root = element(0);
    pass_over();
    require(at_ == text_.size(), "nothing may stand behind the root element");
    return root;
  }

 private:
  std::string_view text_, label_;
  size_t at_ = 0;

  void require(bool ok, std::string_view what) const { check<DataError>(ok, "xml", label_, ": ", what, " at byte ", at_); }
  bool next_is(std::string_view word) const { return text_.substr(at_).starts_with(word); }
  void skip_to(std::string_view end) {
    const size_t found = text_.find(end, at_);
    require(found != std::string_view::npos, "a comment, instruction or section is not closed");
    at_ = found + end.size();
  }
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }
  /// Blanks, comments and instructions.
  void pass_over() {
    for (;;) {
      blanks();
      if (next_is("<!--")) {
        at_ += 4;
        skip_to("-->");
      } else if (next_is("<?")) {
        skip_to("?>");
      } else {
        require(!next_is("<!DOCTYPE") && !next_is("<!doctype"), "a document type is not read");
        return;
      }
    }
  }
  std::string name() {
    const size_t first = at_;
    while (at_ < text_.size() && text_.substr(at_, 1).find_first_of(" \t\r\n/<>=\"'&") == std::string_view::npos) {
      ++at_;
    }
    require(at_ > first && at_ - first <= 1000, "a name is required");
    return std::string(text_.substr(first, at_ - first));
  }
  std::string entity() {
    const size_t end = text_.find(';', at_);
    require(end != std::string_view::npos && end - at_ <= 10, "an entity is not closed");
    const std::string_view word = text_.substr(at_ + 1, end - at_ - 1);
    std::string out;
    if (word == "lt") out = "<";
    if (word == "gt") out = ">";
    if (word == "amp") out = "&";
    if (word == "quot") out = "\"";
    if (word == "apos") out = "'";
    if (word.starts_with('#')) {
      const bool hex = word.starts_with("#x");
      const std::string_view digits = word.substr(hex ? 2 : 1);
      uint32_t code = 0;
      const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, hex ? 16 : 10);
      require(error == std::errc() && rest == digits.data() + digits.size() && code >= 9 && code < 0x110000 && (code < 0xD800 || code > 0xDFFF),
              "a character's number must be valid");
      if (code < 0x80) {
        out += static_cast<char>(code);
      } else if (code < 0x800) {
        out += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
      } else if (code < 0x10000) {
        out += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
      } else {
        out += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)), static_cast<char>(0x80 | (code >> 6 & 63)),
                static_cast<char>(0x80 | (code & 63))};
      }
    }
    require(!out.empty(), "an entity must be lt, gt, amp, quot, apos or a number");
    at_ = end + 1;
    return out;
  }
  XmlElement element(int depth) {
    require(depth < kMostDepth, "elements must not be nested deeper than 64");
    require(next_is("<"), "an element is required");
    ++at_;
    XmlElement e;
    e.name = name();
    for (;;) {
      blanks();
      if (next_is("/>")) {
        at_ += 2;
        return e;
      }
      if (next_is(">")) {
        ++at_;
        break;
      }
      name();
      blanks();
      require(next_is("="), "an attribute must have a value");
      ++at_;
      blanks();
      require(next_is("\"") || next_is("'"), "an attribute's value must stand in quotes");
      const size_t end = text_.find(text_[at_], at_ + 1);
      require(end != std::string_view::npos, "an attribute's value is not closed");
      at_ = end + 1;
    }
    for (;;) {
      require(at_ < text_.size(), "an element is not closed");
      if (next_is("</")) {
        at_ += 2;
        require(name() == e.name, "an element must be closed by its own name");
        blanks();
        require(next_is(">"), "a tag is not closed");
        ++at_;
        return e;
      }
      if (next_is("<!--")) {
        at_ += 4;
        skip_to("-->");
      } else if (next_is("<![CDATA[")) {
        at_ += 9;
        const size_t first = at_;
        skip_to("]]>");
        e.text += text_.substr(first, at_ - 3 - first);
      } else if (next_is("<?")) {
        skip_to("?>");
      } else if (next_is("<")) {
        e.children.push_back(element(depth + 1));
      } else if (next_is("&")) {
        e.text += entity();
      } else {
        e.text += text_[at_++];
      }
    }
  }
};

}  // namespace

const XmlElement* XmlElement::child(std::string_view wanted) const {
  for (const XmlElement& c : children) {
    if (c.name == wanted) {
      return &c;
    }
  }
  return nullptr;
}

XmlElement parse_xml(std::string_view text, std::string_view label) { return Parser(text, label).document(); }

}  // namespace ballast

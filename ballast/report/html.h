#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ballast {

/// Text for HTML: & < > " ' escaped, bytes that are not UTF-8 replaced by U+FFFD, control characters left out (except
/// tab and new line), so that nothing a file or class is named can become markup.
std::string escape_html(std::string_view text);

/// Builds HTML. The only way from text to markup: everything that goes in is escaped, tags and attribute names are
/// checked, and every open element is closed.
///
///   Html page;
///   page.open("p", {{"class", "note"}}).text("a < b").element("b", "!").close();
///   page.str();                        // <p class="note">a &lt; b<b>!</b></p>
class Html {
 public:
  using Attribute = std::pair<std::string_view, std::string>;
  using Attributes = std::initializer_list<Attribute>;

  /// `tag` and attribute names are lower case letters, digits and '-' (and letters of SVG names): std::invalid_argument.
  Html& open(std::string_view tag, Attributes attributes = {});
  Html& close();
  /// An element without content or end tag (img, col, meta); in SVG write element(tag, "").
  Html& single(std::string_view tag, Attributes attributes = {});
  Html& element(std::string_view tag, std::string_view content, Attributes attributes = {});
  Html& text(std::string_view content);
  /// What another builder made. Throws std::invalid_argument if it has open elements.
  Html& add(const Html& other);
  /// A style sheet or a script of our own. Throws std::invalid_argument if it holds "</".. of its own end tag.
  Html& style(std::string_view css);
  Html& script(std::string_view js);
  /// A data block that a script reads: JSON with every '<' written as \u003c.
  Html& json(std::string_view id, std::string_view text);

  /// Throws std::invalid_argument if an element is open.
  const std::string& str() const;
  size_t size() const { return out_.size(); }

 private:
  void tag(std::string_view name, Attributes attributes);
  std::string out_;
  std::vector<std::string> open_;
};

}  // namespace ballast

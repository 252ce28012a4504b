#include <ballast/base/version.h>
#include <ballast/report/html.h>
#include <ballast/report/page_assets.h>
#include <ballast/report/page_parts.h>

namespace ballast {
namespace {

std::string script_hash() {
  std::string bytes;
  auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (size_t i = 0; i + 1 < kPageScriptSha256.size(); i += 2) {
    bytes += static_cast<char>(digit(kPageScriptSha256[i]) * 16 + digit(kPageScriptSha256[i + 1]));
  }
  return base64(bytes);
}

void contents(Html& h, const PageEntries& entries) {
  h.open("nav", {{"class", "toc"}, {"aria-label", "Contents"}}).open("ul");
  for (const auto& [id, title] : entries) {
    h.open("li").element("a", title, {{"href", "#" + id}}).close();
  }
  h.close().close();
}

}  // namespace

std::string framed_page(const PageFrame& frame, const Html& body) {
  Html h;
  h.open("html", {{"lang", "en"}}).open("head");
  h.single("meta", {{"charset", "utf-8"}});
  h.single("meta",
           {{"http-equiv", "Content-Security-Policy"},
            {"content",
             "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" +
                 script_hash() + "'"}});
  h.single("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}});
  h.single("meta", {{"name", "color-scheme"}, {"content", "light dark"}});
  h.single("link", {{"rel", "icon"}, {"href", "data:,"}});
  h.element("title", frame.tab);
  h.style(std::string(kUplotCss) + "\n" + std::string(kPageCss));
  h.close();
  h.open("body").element("a", "To the contents", {{"class", "skip"}, {"href", "#main"}});
  h.open("div", {{"class", "frame"}});
  h.open("header", {{"class", "top"}});
  h.element("p", frame.kind, {{"class", "over"}}).element("h1", frame.title);
  h.element("p", frame.lead, {{"class", "lead"}});
  h.close();
  h.open("div", {{"class", "body"}});
  contents(h, frame.entries);
  h.open("main", {{"id", "main"}}).add(body).close();
  h.close();
  h.open("footer");
  h.element("p", "Written by ballast " + std::string(version()) +
                     ". The charts' zoom is uPlot 1.6.32 by Leon Sorokin, MIT licence. This file "
                     "needs no network.");
  h.close().close();
  h.script(kPageScript);
  h.close().close();
  return "<!doctype html>\n" + h.str() + "\n";
}


}  // namespace ballast

#include <ballast/report/page_sections.h>
#include <ballast/report/table.h>

namespace ballast {

struct RunSections::Node {
  std::string name;
  const ModelLayer* layer = nullptr;
  std::vector<Node> children;
  int64_t params = 0, macs = 0;
};

RunSections::Node& RunSections::child(Node& parent, const std::string& name) {
  for (Node& c : parent.children) {
    if (c.name == name) {
      return c;
    }
  }
  parent.children.push_back({.name = name, .layer = nullptr, .children = {}});
  return parent.children.back();
}

void RunSections::add_up(Node& node) {
  node.params = node.layer ? node.layer->params : 0;
  node.macs = node.layer ? node.layer->macs : 0;
  for (Node& c : node.children) {
    add_up(c);
    node.params += c.params;
    node.macs += c.macs;
  }
}

void RunSections::tree_row(const Node& node, bool group) {
  h_.open("span", {{"class", group ? "row group" : "row"}})
      .element("span", node.name, {{"class", "name"}});
  h_.element("span", node.layer ? node.layer->type : "", {{"class", "what"}});
  h_.element("span", node.layer ? node.layer->shape : "", {{"class", "shape"}});
  h_.element("span", node.params ? format_count(node.params) : "", {{"class", "n params"}});
  h_.element("span",
             node.macs ? format_significant(static_cast<double>(node.macs) / 1e6, 3) + " M" : "",
             {{"class", "n macs"}});
  h_.close();
}

void RunSections::tree(const Node& node) {
  for (const Node& c : node.children) {
    h_.open("li");
    if (c.children.empty()) {
      tree_row(c, false);
    } else {
      h_.open("details", {{"open", ""}}).open("summary");
      tree_row(c, true);
      h_.close().open("ul");
      tree(c);
      h_.close().close();
    }
    h_.close();
  }
}

void RunSections::model() {
  begin("model", "Model");
  if (r_.layers.empty()) {
    h_.element("p", "The model folder holds no layer table.", {{"class", "none"}});
    end();
    return;
  }
  Node root;
  for (const ModelLayer& layer : r_.layers) {
    Node* at = &root;
    size_t begin_at = 0;
    int depth = 0;
    while (begin_at <= layer.name.size() && depth++ < 32) {
      size_t dot = depth < 32 ? layer.name.find('.', begin_at) : std::string::npos;
      at =
          &child(*at, layer.name.substr(begin_at, dot == std::string::npos ? dot : dot - begin_at));
      if (dot == std::string::npos) {
        break;
      }
      begin_at = dot + 1;
    }
    at->layer = &layer;
  }
  add_up(root);
  h_.element("p", or_else(r_.architecture, "The model") + ": " + format_count(root.params) +
                      " parameters, " +
                      format_significant(static_cast<double>(root.macs) / 1e6, 4) +
                      " million multiply-adds a picture. Shapes are those of the outputs, in the "
                      "order of execution.");
  h_.open("div", {{"class", "tree"}});
  h_.open("span", {{"class", "row soft"}, {"aria-hidden", "true"}})
      .element("span", "layer")
      .element("span", "kind", {{"class", "what"}});
  h_.element("span", "output", {{"class", "what"}})
      .element("span", "parameters", {{"class", "n params"}})
      .element("span", "mult.-adds", {{"class", "n macs"}})
      .close();
  h_.open("ul", {{"aria-label", "Layers"}});
  tree(root);
  h_.close().close();
  end();
}

}  // namespace ballast

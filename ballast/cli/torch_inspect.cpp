#include "torch_commands.h"

#include <ballast/base/key.h>
#include <ballast/models/layer_table.h>
#include <ballast/models/model.h>
#include <ballast/models/catalog.h>
#include <ballast/report/table.h>
#include <ballast/weights/tensor_bytes.h>
#include <ballast/weights/weights_file.h>

#include "weights_table.h"

namespace ballast::cli {
namespace {

int inspect_file(const Session& session, const std::filesystem::path& path) {
  const WeightsFile file = open_weights(path);
  const detail::StateBytes state = detail::bytes_of_state(file.state);
  std::vector<ShownTensor> tensors;
  for (const SafetensorsTensor& t : state.tensors) {
    tensors.push_back({t.name, t.dtype, t.shape, [&t] { return t.bytes; }});
  }
  return show_weights(session, {.path = file.path, .kind = std::string(weights_kind_name(file.kind))}, std::move(tensors));
}

}  // namespace

int inspect_with_torch(const Session& session, const InspectRequest& request) {
  using nlohmann::ordered_json;
  if (request.file) {
    return inspect_file(session, request.target);
  }
  ModelOptions options;
  options.name = request.target;
  const ModelRow& row = *parse_model_name(request.target).row;
  const std::vector<int64_t> input =
      request.input.empty() ? std::vector<int64_t>(row.input.begin(), row.input.end()) : request.input;
  options.in_channels = input[0];
  options.height = input[1];
  options.width = input[2];
  options.num_classes = request.classes > 0 ? request.classes : row.num_classes;
  options.norm = request.norm;
  options.init = request.init;
  options.act = request.act;
  ModelOptions drops = request.drops;
  const auto from = drop_fields(drops), to = drop_fields(options);
  for (size_t i = 0; i < to.size(); ++i) *to[i].second = *from[i].second;
  const std::shared_ptr<Model> model = make_model(options, Key(request.seed));
  const auto rows = layer_table(*model);
  const LayerTotals sum = totals(rows);
  const ModelOptions resolved = model->options();

  Table table({{"layer", Table::Align::left}, {"type", Table::Align::left}, {"output", Table::Align::left},
               {"parameters", Table::Align::right}, {"multiply-adds", Table::Align::right}});
  ordered_json layers = ordered_json::array();
  for (const auto& layer : rows) {
    std::string shape = "(";
    for (const int64_t size : layer.output) {
      shape += (shape.size() > 1 ? ", " : "") + std::to_string(size);
    }
    shape += ")";
    table.row({layer.name, layer.type, shape, format_count(layer.params), format_count(layer.multiply_adds)});
    layers.push_back({{"name", layer.name}, {"type", layer.type}, {"output", layer.output}, {"parameters", layer.params},
                      {"multiply_adds", layer.multiply_adds}});
  }
  const std::string shape = std::to_string(input[0]) + "x" + std::to_string(input[1]) + "x" + std::to_string(input[2]);
  std::string dropping;
  ordered_json places = ordered_json::array();
  for (const DropPlace& place : drop_places(*model)) {
    dropping += "  " + place.name + ": " + place.stem + ", p " + format_significant(place.p, 4) + "\n";
    places.push_back({{"name", place.name}, {"technique", place.stem}, {"p", place.p}});
  }
  if (!dropping.empty()) {
    dropping = "\nwhile training it drops at\n" + dropping;
  }
  session.print(request.target + " at " + shape + ", " + std::to_string(options.num_classes) + " classes; norm " +
                resolved.norm + ", init " + resolved.init + ", act " + resolved.act + "\n\n" + table.text() + "\ntotal: " +
                format_count(sum.params) + " parameters, " + format_count(sum.multiply_adds) + " multiply-adds a picture\n" + dropping);
  session.document({{"model", request.target}, {"input", input}, {"classes", options.num_classes}, {"norm", resolved.norm},
                    {"init", resolved.init}, {"act", resolved.act}, {"parameters", sum.params},
                    {"multiply_adds", sum.multiply_adds}, {"layers", layers}, {"drops", places}});
  return kDone;
}

}  // namespace ballast::cli

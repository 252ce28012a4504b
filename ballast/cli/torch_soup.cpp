#include "torch_commands.h"

#include <ballast/report/table.h>
#include <ballast/train/allocator.h>

#include "torch_run_events.h"

namespace ballast::cli {

int soup_with_torch(const Session& session, const SoupRequest& request) {
  using nlohmann::ordered_json;
  install_caching_allocator();
  TerminalEvents events(session, "auto");
  const SoupResult r = make_soup(request.models, request.out, request.options, events);
  events.finish();
  Table table({{"member", Table::Align::left},
               {"NLL", Table::Align::right},
               {"in the soup", Table::Align::left}});
  ordered_json members = ordered_json::array();
  for (size_t m = 0; m < r.nll.size(); ++m) {
    const bool in = std::find(r.kept.begin(), r.kept.end(), m) != r.kept.end();
    table.row({request.models[m].string(), format_fixed(r.nll[m], 4), in ? "yes" : "no"});
    members.push_back({{"model", request.models[m].string()}, {"nll", r.nll[m]}, {"kept", in}});
  }
  session.print(table.text() + "\nsoup      NLL " + format_fixed(r.soup_nll, 4) + ", barrier " +
                format_fixed(r.barrier, 4) + " nats, on " + format_count(r.rows) + " rows of " +
                r.split + "\nmodel     " + request.out.string() + "\n");
  session.document({{"members", std::move(members)},
                    {"nll", r.soup_nll},
                    {"barrier", r.barrier},
                    {"split", r.split},
                    {"rows", r.rows},
                    {"model", request.out.string()}});
  return kDone;
}

}  // namespace ballast::cli

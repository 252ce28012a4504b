#include "command.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {

template <class Visitor>
void describe(Visitor& visit, DropPreviewRequest& o) {
  visit("p", o.p, {.help = "probability of dropping", .flags = "--p", .range = half_open(0, 1)});
  visit("side", o.side, {.help = "side of the maps", .flags = "--side", .range = between(4, 256)});
  visit("block_size", o.block_size, {.help = "side of a block of drop_block", .flags = "--block-size", .range = between(1, 256)});
  visit("seed", o.seed, {.help = "decides the masks", .flags = "--seed"});
  visit("out", o.out, {.help = "the picture", .flags = "--out", .value_name = "FILE.png"});
}

namespace {

class DropPreviewCommand : public Command {
 public:
  DropPreviewCommand() { own_.add("drop", request_); }
  CommandText text() const override {
    return {
        .name = "drop preview",
        .summary = "a picture of the masks of the dropout family",
        .operands = "",
        .about = "A row of tiles for each technique, named on the terminal from the top: four channels of a first sample, then "
                 "four of a second one (drop_connect: the weights of eight samples; patch_dropout: eight samples). White is "
                 "kept, black is dropped. The masks are those that training draws for the same key.",
        .examples =
            {
                {"masks at p 0.3", "ballast drop preview --p 0.3 --out masks.png"},
                {"small maps, large blocks", "ballast drop preview --side 7 --block-size 5"},
            },
    };
  }
  int run(const Session& session, const Arguments&) override { return load_torch_side(1).drop_preview(session, request_); }

 private:
  DropPreviewRequest request_;
};

}  // namespace

std::unique_ptr<Command> make_drop_preview_command() { return std::make_unique<DropPreviewCommand>(); }

}  // namespace ballast::cli

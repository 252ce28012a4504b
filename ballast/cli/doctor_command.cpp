#include <algorithm>

#include "command.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct DoctorFlags {
  Auto<int64_t> threads;
};
template <class Visitor>
void describe(Visitor& visit, DoctorFlags& o) {
  visit("threads", o.threads, {.help = "threads that compute", .flags = "--threads", .range = between(1, 4096)});
}

class DoctorCommand : public Command {
 public:
  DoctorCommand() { own_.add("doctor", flags_); }
  CommandText text() const override {
    return {
        .name = "doctor",
        .summary = "is this machine fit: threads, instructions, memory, disk, decoding, two training steps",
        .operands = "",
        .about = "Each line is a check: ok, or what is wrong and what helps. The exit code is 5 if one failed.",
        .examples = {{"before the first run", "ballast doctor"}, {"as JSON", "ballast doctor --json"}},
    };
  }
  int run(const Session& session, const Arguments&) override {
    const DoctorRequest request{.threads = usable_threads(flags_.threads.value_or(0))};
    return load_torch_side(request.threads).doctor(session, request);
  }

 private:
  DoctorFlags flags_;
};

struct BenchFlags {
  Auto<int64_t> threads;
  double seconds = 2;
};
template <class Visitor>
void describe(Visitor& visit, BenchFlags& o) {
  visit("threads", o.threads, {.help = "threads that compute", .flags = "--threads", .range = between(1, 4096)});
  visit("seconds", o.seconds, {.help = "length of each measurement", .flags = "--seconds", .range = above_to(0, 600)});
}

class BenchCommand : public Command {
 public:
  BenchCommand() { own_.add("bench", flags_); }
  CommandText text() const override {
    return {
        .name = "bench",
        .summary = "speed of this machine: training step, evaluation, decoding, loading, saving",
        .operands = "[step] [eval] [decode] [loader] [save]",
        .about = "Measures ballast's own side, median of five rounds. Comparisons with other programs are made by the "
                 "script benchmarks/run.",
        .examples = {{"everything", "ballast bench"},
                     {"the training step with one thread", "ballast bench step --threads 1"},
                     {"as JSON", "ballast bench --json"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {0, 100}; }
  int run(const Session& session, const Arguments& arguments) override {
    const std::vector<std::string> known = {"step", "eval", "decode", "loader", "save"};
    for (const std::string& name : arguments.operands) {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        usage_error("bench knows step, eval, decode, loader and save, got \"" + name + "\"" + did_you_mean(name, known));
      }
    }
    const BenchRequest request{.names = arguments.operands.empty() ? known : arguments.operands,
                               .threads = usable_threads(flags_.threads.value_or(0)),
                               .seconds = flags_.seconds};
    return load_torch_side(request.threads).bench(session, request);
  }

 private:
  BenchFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_doctor_command() { return std::make_unique<DoctorCommand>(); }
std::unique_ptr<Command> make_bench_command() { return std::make_unique<BenchCommand>(); }

}  // namespace ballast::cli

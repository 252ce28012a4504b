#include <filesystem>

#include <ballast/base/check.h>
#include <ballast/data/pack.h>
#include <ballast/report/table.h>

#include "command.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct PackFlags {
  std::string store = "keep";
  bool shards = false;
  int64_t short_side = 0;
  int64_t quality = 90;
  int64_t shard_size = 256;
  std::string format = "auto";
  std::string cifar_labels = "fine";
  bool overwrite = false;
  Auto<int64_t> threads;
};
template <class Visitor>
void describe(Visitor& visit, PackFlags& o) {
  visit("store", o.store, {.help = "keep: files as they are (progressive JPEGs become baseline, with the same pixels); jpeg: encode "
                                   "again; raw: pixels",
                           .flags = "--store", .choices = "keep jpeg raw"});
  visit("short_side", o.short_side, {.help = "shrink pictures to so many pixels on the shorter side; 0: leave them; needs --store jpeg or raw",
                                     .flags = "--short-side", .range = between(0, 16384)});
  visit("quality", o.quality, {.help = "of --store jpeg", .flags = "--quality", .range = between(1, 100)});
  visit("shards", o.shards, {.help = "write tar shards (WebDataset) into the folder OUT instead of one file", .flags = "--shards"});
  visit("shard_size", o.shard_size, {.help = "MiB of a shard, about", .flags = "--shard-size", .range = between(1, 1 << 20)});
  visit("format", o.format, {.help = "how to read the data; auto: by its content", .flags = "--data-format", .choices = kDataFormats});
  visit("cifar_labels", o.cifar_labels, {.help = "labels of CIFAR-100", .flags = "--cifar-labels", .choices = "fine coarse"});
  visit("overwrite", o.overwrite, {.help = "replace a file OUT that is there", .flags = "--overwrite"});
  visit("threads", o.threads, {.help = "threads that decode", .flags = "--threads", .range = between(1, 4096)});
}

class PackCommand : public Command {
 public:
  PackCommand() { own_.add("pack", flags_); }
  CommandText text() const override {
    return {
        .name = "pack",
        .summary = "put a data set into one file that trains faster, or into tar shards",
        .operands = "DATA OUT",
        .about = "DATA is anything that `train --data` takes; OUT is used in its place: the same pictures with the same numbers, "
                 "names, labels and parts, so a run on it gives the same results bit for bit (unless --store or --short-side "
                 "change the pixels). One file is read without opening thousands, and each picture has a checksum.",
        .examples =
            {
                {"one file", "ballast pack photos/ photos.bpk"},
                {"train from it", "ballast train --data photos.bpk"},
                {"large photos, shrunk once", "ballast pack photos/ small.bpk --store jpeg --short-side 256"},
                {"tar shards for other programs", "ballast pack photos/ shards/ --shards"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 2}; }
  int run(const Session& session, const Arguments& arguments) override {
    const std::filesystem::path out = arguments.operands[1];
    if (!flags_.shards && (std::filesystem::is_directory(out) || !out.has_filename())) {
      usage_error("pack: OUT is a folder, " + out.string() + "; name a file, such as photos.bpk, or give --shards");
    }
    if (!flags_.shards && !flags_.overwrite && std::filesystem::exists(out)) {
      usage_error("pack: " + out.string() + " is there already; --overwrite replaces it");
    }
    if (flags_.shards && flags_.store == "raw") {
      usage_error("pack: shards hold files: --store must be keep or jpeg");
    }
    if (flags_.short_side > 0 && flags_.store == "keep") {
      usage_error("pack: --short-side changes the pixels: it needs --store jpeg or --store raw");
    }
    DataOptions data;
    data.source = arguments.operands[0];
    data.format = flags_.format;
    data.cifar_labels = flags_.cifar_labels;
    const std::shared_ptr<const Source> source = open_source(data);
    const PackOptions options{.store = flags_.store,
                              .short_side = static_cast<int32_t>(flags_.short_side),
                              .quality = static_cast<int>(flags_.quality),
                              .threads = usable_threads(flags_.threads.value_or(0)),
                              .shard_bytes = static_cast<uint64_t>(flags_.shard_size) << 20};
    const PackReport report = flags_.shards ? write_shards(*source, out, options) : pack(*source, out, options);
    session.print(format_count(report.pictures) + " pictures, " + format_bytes(static_cast<double>(report.bytes_in)) + " -> " +
                  format_bytes(static_cast<double>(report.bytes_out)) + " in " +
                  (flags_.shards ? std::to_string(report.files.size()) + (report.files.size() == 1 ? " shard" : " shards") : out.string()) + '\n');
    if (report.made_baseline > 0) {
      session.print(format_count(report.made_baseline) + " progressive JPEGs are baseline now, with the same pixels\n");
    }
    const int64_t lost = static_cast<int64_t>(report.bad.size());
    if (lost > 0) {
      const BadSample& first = report.bad.front();
      session.warn(format_count(lost) + (lost == 1 ? " picture" : " pictures") + " cannot be used" +
                   (flags_.shards ? " and left out" : "") + " (first: " + first.path + ": " + std::string(to_string(first.reason)) + ": " +
                   first.detail + ")");
    }
    nlohmann::ordered_json doc = {{"pictures", report.pictures}, {"bytes_in", report.bytes_in}, {"bytes_out", report.bytes_out},
                                  {"made_baseline", report.made_baseline}};
    doc["files"] = nlohmann::ordered_json::array();
    for (const auto& file : report.files) {
      doc["files"].push_back(file.string());
    }
    doc["bad"] = nlohmann::ordered_json::array();
    for (const BadSample& row : report.bad) {
      doc["bad"].push_back({{"id", row.id}, {"path", row.path}, {"reason", to_string(row.reason)}, {"detail", row.detail}, {"bytes", row.bytes}});
    }
    session.document(doc);
    return kDone;
  }

 private:
  PackFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_pack_command() { return std::make_unique<PackCommand>(); }

}  // namespace ballast::cli

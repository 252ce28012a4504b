#include <ballast/train/run_options.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include <ballast/augment/pipeline.h>
#include <ballast/base/act.h>
#include <ballast/data/bag.h>
#include <ballast/drop/catalog.h>
#include <ballast/drop/rate_schedule.h>
#include <ballast/init/catalog.h>
#include <ballast/models/catalog.h>
#include <ballast/norm/catalog.h>

namespace ballast {
namespace {

using enum Duration::Unit;

std::string check_clip(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string mode = text.substr(0, colon);
  double limit = 0;
  if (colon != std::string::npos && (mode == "norm" || mode == "value" || mode == "agc")) {
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, limit);
    if (error == std::errc() && stop == end && std::isfinite(limit) && limit > 0) {
      return "";
    }
  }
  return "must be off, norm:C, value:C or agc:C with C > 0, got \"" + text + "\"";
}

std::string check_bag(const std::string& text) {
  try {
    parse_bag(text);
    return "";
  } catch (const std::invalid_argument& e) {
    return std::string(e.what()).substr(std::string_view("[bag] bag ").size());
  }
}

constexpr std::string_view kMonitors = "val/nll_tempered val/loss val/top1 val/top5 val/balanced_acc val/brier val/ece "
                                      "val/map val/micro_f1 val/exact_match";

std::string check_monitor(const std::string& text) {
  const std::string all = " " + std::string(kMonitors) + " ";
  const bool known = !text.empty() && text.find(' ') == std::string::npos && all.find(" " + text + " ") != std::string::npos;
  return known ? "" : "must be one of " + std::string(kMonitors) + ", got \"" + text + "\"";
}

bool is_share(const std::string& monitor) {
  return monitor == "val/top1" || monitor == "val/top5" || monitor == "val/balanced_acc" || monitor == "val/map" ||
         monitor == "val/micro_f1" || monitor == "val/exact_match";
}

std::string check_device(const std::string& text) {
  if (text == "auto" || text == "cpu" || text == "cuda") {
    return "";
  }
  if (text.starts_with("cuda:") && text.size() > 5 && text.size() < 8 &&
      text.find_first_not_of("0123456789", 5) == std::string::npos) {
    return "";
  }
  return "must be auto, cpu or cuda:N, got \"" + text + "\"";
}

/// What `parse` throws for a name, as what is required; "auto" is always good.
template <class Parse>
std::string check_name(const std::string& text, const Parse& parse) {
  if (text == "auto") {
    return "";
  }
  try {
    parse(text);
    return "";
  } catch (const std::invalid_argument& error) {
    std::string what = error.what();
    if (what.starts_with("[")) {
      what = what.substr(what.find("] ") + 2);
    }
    for (const std::string_view name : {"name ", "norm ", "init ", "act "}) {
      if (what.starts_with(std::string(name) + "must be")) {
        return what.substr(name.size());
      }
    }
    return "is wrong: " + what;
  }
}
std::string check_model(const std::string& text) { return check_name(text, parse_model_name); }
std::string check_norm(const std::string& text) { return check_name(text, parse_norm); }
std::string check_init(const std::string& text) { return check_name(text, parse_init); }
std::string check_act(const std::string& text) { return check_name(text, parse_act); }

std::string check_group(const std::string& text) {
  try {
    parse_group_text(text);
    return "";
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

/// What `parse` says of a text it refuses, without the stem.
template <class Parse>
std::string check_text(Parse parse) {
  try {
    parse();
    return "";
  } catch (const std::invalid_argument& error) {
    const std::string what = error.what();
    return "is wrong: " + what.substr(what.find("] ") + 2);
  }
}

/// By row of the catalog of drops.
template <size_t row>
std::string check_drop(const std::string& text) {
  return check_text([&] { parse_drop(kDrops[row].stem, text); });
}

std::string check_drop_rates(const std::string& text) {
  return check_text([&] { parse_drop_rates(text); });
}

std::string check_drop_schedule(const std::string& text) {
  return check_text([&] { parse_rate_schedule(text); });
}

std::string check_milestone(const std::string& text) {
  try {
    if (!Duration::parse(text, epochs).is_time()) {
      return "";
    }
  } catch (const std::invalid_argument&) {
  }
  return "must be a number of epochs, or with st or %, got \"" + text + "\"";
}

std::string check_pipeline(const std::string& text) {
  try {
    Pipeline::parse(text);
    return "";
  } catch (const std::invalid_argument& e) {
    return std::string("is no pipeline: ") + e.what();
  }
}

}  // namespace

GroupText parse_group_text(const std::string& text) {
  GroupText group;
  const auto wrong = [&] {
    throw std::invalid_argument("must be GLOB:lr_scale=X:weight_decay=X with numbers >= 0 (either part may miss), got \"" +
                                text + "\"");
  };
  size_t begin = text.find(':');
  group.match = text.substr(0, begin);
  if (group.match.empty() || begin == std::string::npos) {
    wrong();
  }
  while (begin != std::string::npos) {
    const size_t end = text.find(':', begin + 1);
    const std::string part = text.substr(begin + 1, end == std::string::npos ? end : end - begin - 1);
    const size_t equal = part.find('=');
    const std::string key = part.substr(0, equal);
    double value = 0;
    if (equal == std::string::npos || (key != "lr_scale" && key != "weight_decay")) {
      wrong();
    }
    const char* last = part.data() + part.size();
    const auto [stop, error] = std::from_chars(part.data() + equal + 1, last, value);
    if (error != std::errc() || stop != last || !std::isfinite(value) || value < 0) {
      wrong();
    }
    if (key == "lr_scale") {
      group.lr_scale = value;
    } else {
      group.weight_decay = value;
    }
    begin = end;
  }
  return group;
}

template <class Visitor>
void describe(Visitor& visit, RunSection& o) {
  visit("name", o.name, {.help = "name of the run: its folder is runs/NAME (default: a new one, DATA-MODEL-N)",
                         .flags = "--name", .value_name = "NAME"});
  visit("out", o.out, {.help = "the run's folder itself, in place of runs/NAME", .flags = "--out", .value_name = "DIR"});
  visit("seed", o.seed, {.help = "decides every random draw", .flags = "--seed"});
  visit("init_seed", o.init_seed,
        {.help = "draws the initial values in place of --seed, so that runs of other seeds share them",
         .flags = "--init-seed"});
  visit("data_seed", o.data_seed,
        {.help = "likewise the order of the pictures, their augmentation and mixing",
         .flags = "--data-seed"});
  visit("drop_seed", o.drop_seed,
        {.help = "likewise the masks of the dropout family", .flags = "--drop-seed"});
  visit("device", o.device, {.help = "auto, cpu or cuda:N", .flags = "--device", .value_name = "DEVICE",
                             .check = check_device});
  visit("threads", o.threads, {.help = "threads that compute", .flags = "--threads", .range = between(1, 4096)});
  visit("workers", o.workers, {.help = "threads that decode and augment; 0: none of their own",
                               .flags = "-j --workers", .range = between(0, 4096)});
  visit("max_time", o.max_time, {.help = "end the run in this time, with the best weights: 45m, 2h",
                                 .flags = "--max-time", .range = above(0), .unit = seconds});
  visit("session_time", o.session_time, {.help = "save and end this process in this time; the same command goes on",
                                         .flags = "--session-time", .range = above(0), .unit = seconds});
  visit("grace", o.grace, {.help = "time between a stop signal and the kill: no save is begun that would take longer, and no report is written",
                           .flags = "--grace", .range = above(0), .unit = seconds});
  visit("overwrite", o.overwrite, {.help = "move an existing run folder of that name aside", .flags = "--overwrite"});
}

template <class Visitor>
void describe(Visitor& visit, ModelSection& o) {
  visit("name", o.name, {.help = "model from `ballast list models`, with a size where it takes one: plain_cnn:30",
                         .flags = "--model", .value_name = "NAME[:SIZE]", .check = check_model});
  visit("norm", o.norm, {.help = "normalization from `ballast list norm`", .flags = "--norm", .value_name = "NAME", .check = check_norm});
  visit("init", o.init, {.help = "initial values from `ballast list init`", .flags = "--init", .value_name = "NAME", .check = check_init});
  visit("act", o.act, {.help = "activation: relu, gelu, silu, ...", .flags = "--act", .value_name = "NAME", .check = check_act});
  visit("pretrained", o.pretrained, {.help = "start from these weights: .safetensors, .pt, TorchScript, a run or a model folder; "
                                             "another number of classes or channels is adapted",
                                     .flags = "--pretrained", .value_name = "FILE"});
  visit("pretrained_head", o.pretrained_head, {.help = "the classifier of pre-trained weights; auto: drawn anew where the number "
                                                       "of classes differs; reset: always, for other classes of the same number",
                                               .flags = "--pretrained-head", .choices = "auto reset"});
  visit("pretrained_partial", o.pretrained_partial, {.help = "take from the pre-trained weights what has a name of the model, "
                                                             "leave the rest as drawn",
                                                     .flags = "--pretrained-partial"});
  visit("drop", o.drop, {.help = "drop P of the values, where the model's paper places it", .flags = "--drop --dropout", .value_name = "P", .check = check_drop<0>});
  visit("spatial_dropout", o.spatial_dropout, {.help = "drop whole channels of the last convolution", .flags = "--spatial-dropout", .value_name = "P", .check = check_drop<1>});
  visit("alpha_dropout", o.alpha_dropout, {.help = "drop alpha dropout behind the hidden layers of an mlp, for --act selu", .flags = "--alpha-dropout", .value_name = "P", .check = check_drop<2>});
  visit("drop_connect", o.drop_connect, {.help = "drop single weights of linear layers", .flags = "--drop-connect", .value_name = "P[:shared][:gaussian]", .check = check_drop<3>});
  visit("drop_block", o.drop_block, {.help = "drop blocks of the maps of the last two stages (size 7)", .flags = "--drop-block", .value_name = "P[:SIZE][:shared]", .check = check_drop<4>});
  visit("drop_path", o.drop_path, {.help = "drop residual branches (stochastic depth), P growing with depth; batch saves their time", .flags = "--drop-path", .value_name = "P[:row|:batch]", .check = check_drop<5>});
  visit("patch_dropout", o.patch_dropout, {.help = "drop patches of a transformer's input", .flags = "--patch-dropout", .value_name = "P", .check = check_drop<6>});
  visit("shake_drop", o.shake_drop, {.help = "shake residual branches by random factors (ShakeDrop), P growing with depth", .flags = "--shake-drop", .value_name = "P", .check = check_drop<7>});
  visit("drop_rate", o.drop_rate, {.help = "other rates for layers that drop, by their names in `ballast inspect MODEL --drop P ...`: "
                                           "'layer3.*=0.2,fc*=0'",
                                   .flags = "--drop-rate", .value_name = "GLOB=P,...", .check = check_drop_rates});
  visit("drop_schedule", o.drop_schedule, {.help = "rates of the drops over the run: ramp[:END], cosine[:END] from 0 to P; early[:SHARE] P "
                                                   "only at first, late[:SHARE] only later; all, or one as drop_block=ramp",
                                           .flags = "--drop-schedule", .value_name = "[STEM=]FORM", .check = check_drop_schedule});
}

template <class Visitor>
void describe(Visitor& visit, DataSection& o) {
  visit("source", o.source, {.help = "folder with a sub-folder per class (or train/val/test), IDX or CIFAR files, or fashion-mnist",
                             .flags = "--data --data-dir", .value_name = "PATH"});
  visit("format", o.format, {.help = "how to read the data; auto: by its content", .flags = "--data-format",
                             .choices = kDataFormats});
  visit("cifar_labels", o.cifar_labels, {.help = "labels of CIFAR-100: 100 classes or 20", .flags = "--cifar-labels",
                                         .choices = "fine coarse"});
  visit("image_size", o.image_size, {.help = "side of the model's input in pixels", .flags = "--image-size --img-size",
                                     .range = between(8, 4096)});
  visit("split.val", o.split_val, {.help = "share of train held back for validation if the data has no such part",
                                   .flags = "--val-share", .range = half_open(0, 1)});
  visit("split.test", o.split_test, {.help = "share of train held back for the test if the data has no such part",
                                     .flags = "--test-share", .range = half_open(0, 1)});
  visit("split.seed", o.split_seed, {.help = "draws the split in place of --seed, so that runs of other seeds share it; off: --seed",
                                     .flags = "--split-seed"});
  visit("split.hold", o.split_hold, {.help = "share of train that the run leaves alone, for the weights of an ensemble and for calibration",
                                     .flags = "--hold-share", .range = half_open(0, 1)});
  visit("bag", o.bag, {.help = "train on a part: bootstrap (draws with replacement), subset:S, fold:I/K (all but fold I of K)",
                       .flags = "--data-bag", .value_name = "BAG", .check = check_bag});
  visit("limit", o.limit, {.help = "use only N training pictures, the same share of each class", .flags = "--limit",
                           .range = at_least(1)});
  visit("on_bad", o.on_bad, {.help = "an unreadable picture: take another of its class and say so, or stop",
                             .flags = "--on-bad", .choices = "substitute stop"});
}

template <class Visitor>
void describe(Visitor& visit, AugmentSection& o) {
  visit("preset", o.preset, {.help = "augmentation of the training pictures", .flags = "--augment",
                             .choices = "none light standard strong"});
  visit("train", o.train, {.help = "training pipeline in place of the preset's: \"random_crop(32,4) | horizontal_flip\"",
                           .flags = "--augment-train", .value_name = "PIPELINE", .check = check_pipeline});
  visit("eval", o.eval, {.help = "pipeline for evaluation: \"resize(256) | center_crop(224)\"",
                         .flags = "--augment-eval", .value_name = "PIPELINE", .check = check_pipeline});
  visit("normalize", o.normalize, {.help = "mean and standard deviation that pictures are normalized by",
                                   .flags = "--normalize", .choices = "dataset imagenet none"});
  visit("semantics", o.semantics, {.help = "fused: all geometry between two other steps is one resampling; sequential: each step "
                                           "makes a picture, as other libraries do",
                                   .flags = "--augment-semantics", .choices = "fused sequential"});
  visit("off_last", o.off_last, {.help = "the last epochs get crop and flip only, and nothing is mixed",
                                 .flags = "--augment-off-last", .range = at_least(0), .value_name = "EPOCHS"});
  visit("mix.mixup_alpha", o.mixup_alpha, {.help = "mixup: blend pictures in pairs, lambda from Beta(A, A); 0: off",
                                           .flags = "--mixup", .range = between(0, 1000), .value_name = "A"});
  visit("mix.cutmix_alpha", o.cutmix_alpha, {.help = "cutmix: paste a box of another picture, lambda from Beta(A, A); 0: off",
                                             .flags = "--cutmix", .range = between(0, 1000), .value_name = "A"});
  visit("mix.cutmix_minmax", o.cutmix_minmax, {.help = "cutmix with sides of the box drawn from these two shares",
                                               .flags = "--cutmix-minmax", .range = between(0, 1)});
  visit("mix.prob", o.mix_prob, {.help = "probability of mixing a batch (pair, picture)", .flags = "--mixup-prob",
                                 .range = between(0, 1)});
  visit("mix.switch_prob", o.mix_switch_prob, {.help = "probability of cutmix where mixup is on too",
                                               .flags = "--mixup-switch-prob", .range = between(0, 1)});
  visit("mix.mode", o.mix_mode, {.help = "who shares lambda and box", .flags = "--mixup-mode", .choices = "batch pair elem"});
  visit("mix.multi_label", o.mix_multi_label, {.help = "targets of mixed pictures of several labels: lambda of one and 1 - lambda of the other; or the "
                                                       "classes of both",
                                               .flags = "--mixup-multi-label", .choices = "linear union"});
  visit("mix.off_last", o.mix_off_last, {.help = "mix nothing in the last epochs", .flags = "--mixup-off-last",
                                         .range = at_least(0), .value_name = "EPOCHS"});
  visit("mix.off_epoch", o.mix_off_epoch, {.help = "mix nothing from this epoch on; 0: never off",
                                           .flags = "--mixup-off-epoch", .range = at_least(0), .value_name = "E"});
}

template <class Visitor>
void describe(Visitor& visit, TrainSection& o) {
  visit("epochs", o.epochs, {.help = "passes over the training pictures (auto: 5 to 100, by their number and size)",
                             .flags = "--epochs", .range = between(1, 1e6)});
  visit("batch_size", o.batch_size, {.help = "pictures of one optimizer step", .flags = "-b --batch-size",
                                     .range = between(1, 1e6)});
  visit("micro_batch", o.micro_batch, {.help = "pictures in memory at once; a step adds up several; 0: the whole step",
                                       .flags = "--micro-batch", .range = between(0, 1e6)});
  visit("clip", o.clip, {.help = "gradient clipping: norm:C, value:C, or adaptive agc:C (0.01 is usual)", .flags = "--clip", .value_name = "MODE:C",
                         .check = check_clip});
  visit("on_nonfinite", o.on_nonfinite, {.help = "a step whose loss or gradient is not finite: stop; skip the step; or roll back to the last checkpoint, "
                                                 "with half the rate and other masks",
                                         .flags = "--on-nonfinite", .choices = "stop skip rollback"});
  visit("max_loss", o.max_loss, {.help = "end the run as diverged when the smoothed training loss is above this", .flags = "--max-train-loss",
                                 .range = above(0)});
  visit("precision", o.precision, {.help = "bf16: forward pass and loss in bfloat16 where that is safe (autocast); pays on CPUs with AMX or AVX512_BF16",
                                   .flags = "--precision", .choices = "fp32 bf16"});
  visit("layout", o.layout, {.help = "memory layout of activations; auto: channels_last for convolutional models",
                             .flags = "--layout", .choices = "auto channels_last contiguous"});
  visit("freeze", o.freeze, {.help = "keep parameters whose names match as they are, and the norms among them: "
                                     "'conv1.*,bn1.*,layer1.*'",
                             .flags = "--freeze", .value_name = "GLOBS"});
}

template <class Visitor>
void describe(Visitor& visit, OptimSection& o) {
  visit("name", o.name, {.help = "optimizer", .flags = "--opt", .choices = "sgd adam adamw"});
  visit("lr", o.lr, {.help = "learning rate (its peak)", .flags = "--lr", .range = above(0)});
  visit("weight_decay", o.weight_decay, {.help = "weight decay, not on norms and biases",
                                         .flags = "--weight-decay --wd", .range = at_least(0)});
  visit("momentum", o.momentum, {.help = "momentum of sgd", .flags = "--momentum", .range = half_open(0, 1)});
  visit("nesterov", o.nesterov, {.help = "Nesterov's form of momentum", .flags = "--nesterov"});
  visit("betas", o.betas, {.help = "averaging of adam and adamw", .flags = "--opt-betas", .range = half_open(0, 1),
                           .value_name = "B1,B2", .count = 2});
  visit("eps", o.eps, {.help = "epsilon of adam and adamw", .flags = "--opt-eps", .range = above(0)});
  visit("layer_decay", o.layer_decay, {.help = "the rate of a block is this times that of the block behind it; 0.75 is usual "
                                               "for fine-tuning",
                                       .flags = "--layer-decay", .range = above_to(0, 1)});
  visit("group", o.group, {.help = "parameters with a rate and a weight decay of their own: 'fc.*:lr_scale=10:weight_decay=0'",
                           .flags = "--param-group", .value_name = "GLOB:lr_scale=X,...", .check = check_group});
}

template <class Visitor>
void describe(Visitor& visit, ScheduleSection& o) {
  visit("name", o.name, {.help = "learning-rate schedule", .flags = "--sched",
                         .choices = "cosine one_cycle constant step multistep poly plateau"});
  visit("warmup", o.warmup, {.help = "linear rise of the rate at the start: 5ep, 500st, 5%",
                             .flags = "--warmup --warmup-epochs", .range = at_least(0)});
  visit("min_lr", o.min_lr, {.help = "rate at the end of cosine, and the lowest of plateau", .flags = "--min-lr",
                             .range = at_least(0)});
  visit("cycles", o.cycles, {.help = "cosine: restarts from the top, so many cycles in all", .flags = "--sched-cycles",
                             .range = between(1, 1000)});
  visit("cycle_mult", o.cycle_mult, {.help = "cosine: a cycle is so many times as long as the one before",
                                     .flags = "--cycle-mult", .range = between(1, 100)});
  visit("cycle_decay", o.cycle_decay, {.help = "cosine: and starts from this share of its rate", .flags = "--cycle-decay",
                                       .range = above_to(0, 1)});
  visit("patience", o.patience, {.help = "plateau: cut the rate after N checks in a row without improvement",
                                 .flags = "--patience-epochs", .range = at_least(1)});
  visit("cooldown", o.cooldown, {.help = "plateau: checks after a cut that do not count", .flags = "--sched-cooldown",
                                 .range = at_least(0)});
  visit("factor", o.factor, {.help = "plateau: factor of a cut", .flags = "--plateau-factor",
                             .range = Range{.low = 0, .high = 1, .low_open = true, .high_open = true}});
  visit("warmup_lr", o.warmup_lr, {.help = "rate of the first step of the warm-up", .flags = "--warmup-lr",
                                   .range = at_least(0)});
  visit("per", o.per, {.help = "change the rate every step, or hold it for an epoch", .flags = "--sched-per",
                       .choices = "step epoch"});
  visit("milestones", o.milestones, {.help = "multistep: epochs at which the rate falls", .flags = "--decay-milestones",
                                     .value_name = "E,E,...", .check = check_milestone});
  visit("every", o.every, {.help = "step: epochs between two falls", .flags = "--decay-epochs", .range = above(0)});
  visit("gamma", o.gamma, {.help = "step, multistep: factor of a fall", .flags = "--decay-rate", .range = above(0)});
  visit("power", o.power, {.help = "poly: exponent", .flags = "--sched-power", .range = above(0)});
  visit("pct", o.pct, {.help = "one_cycle: share of the run in which the rate rises", .flags = "--cycle-pct",
                       .range = Range{.low = 0, .high = 1, .low_open = true, .high_open = true}});
  visit("div", o.div, {.help = "one_cycle: the first rate is lr/div", .flags = "--cycle-div", .range = above(0)});
  visit("final_div", o.final_div, {.help = "one_cycle: the last rate is lr/(div*final_div)", .flags = "--cycle-final-div",
                                   .range = above(0)});
}

template <class Visitor>
void describe(Visitor& visit, LossSection& o) {
  visit("name", o.name, {.help = "what is minimized: cross entropy, binary cross entropy of each class, focal loss",
                         .flags = "--loss", .choices = "cross_entropy bce focal"});
  visit("gamma", o.gamma, {.help = "focal: how much less easy pictures count", .flags = "--focal-gamma",
                           .range = at_least(0)});
  visit("label_smoothing", o.label_smoothing, {.help = "share of the target spread over all classes",
                                               .flags = "--smoothing --label-smoothing", .range = half_open(0, 1)});
}

template <class Visitor>
void describe(Visitor& visit, DistillSection& o) {
  visit("teacher", o.teacher,
        {.help = "learn from what this run, model or ensemble says of each training picture, as it was "
                 "augmented",
         .flags = "--teacher",
         .value_name = "MODEL"});
  visit("alpha", o.alpha,
        {.help = "share of the teacher in the loss; the labels have the rest",
         .flags = "--distill-alpha",
         .range = between(0, 1)});
  visit("temperature", o.temperature,
        {.help = "softens what teacher and student say", .flags = "--distill-temperature", .range = above(0)});
}

template <class Visitor>
void describe(Visitor& visit, AverageSection& o) {
  visit("ema", o.ema, {.help = "half-life of a moving average of the weights, which checks and the saved model then use: 500st, 2ep",
                       .flags = "--model-ema", .range = above(0), .unit = steps});
  visit("swa", o.swa, {.help = "stochastic weight averaging: from here on average the weights at the end of each epoch, at a constant rate, for the "
                               "saved model; without a value 75%",
                       .flags = "--swa", .range = at_least(0), .value_name = "[75%]"});
  visit("swa_lr", o.swa_lr, {.help = "that rate (auto: half of --lr)", .flags = "--swa-lr", .range = above(0)});
  visit("reestimate", o.reestimate, {.help = "compute the batch-norm statistics of the saved model anew, over so many batches of training pictures "
                                             "(of at least 128): after training with small batches; 0: they stay",
                                     .flags = "--reestimate", .range = at_least(0), .value_name = "BATCHES"});
}

template <class Visitor>
void describe(Visitor& visit, EvalSection& o) {
  visit("every", o.every, {.help = "between two checks of the validation part: 1ep, 500st", .flags = "--eval-every",
                           .range = above(0)});
  visit("batch_size", o.batch_size, {.help = "pictures of one evaluation batch", .flags = "--eval-batch-size",
                                     .range = between(1, 1e6)});
}

template <class Visitor>
void describe(Visitor& visit, StopSection& o) {
  visit("patience", o.patience, {.help = "stop after N checks in a row without improvement", .flags = "--patience",
                                 .range = at_least(1)});
  visit("monitor", o.monitor, {.help = "what decides which weights are best; of pictures with several labels val/loss (the default then), "
                                       "val/map, val/micro_f1 or val/exact_match", .flags = "--monitor --eval-metric",
                               .choices = kMonitors});
  visit("also", o.also, {.help = "further metrics that stop the run: val/top1,val/ece", .flags = "--also-monitor", .value_name = "METRIC,...",
                         .check = check_monitor});
  visit("combine", o.combine, {.help = "stop when all monitors have run out of patience, or any", .flags = "--monitor-combine",
                               .choices = "all any"});
  visit("mode", o.mode, {.help = "which direction is better; auto: the metric's own", .flags = "--monitor-mode",
                         .choices = "auto min max"});
  visit("min_delta", o.min_delta, {.help = "an improvement is more than this", .flags = "--min-delta",
                                   .range = at_least(0)});
  visit("rel_delta", o.rel_delta, {.help = "and more than this share of the value", .flags = "--rel-delta",
                                   .range = at_least(0)});
  visit("warmup_checks", o.warmup_checks, {.help = "first checks that do not count", .flags = "--warmup-checks",
                                           .range = at_least(0)});
  visit("cooldown", o.cooldown, {.help = "checks that do not count after a cut of the rate or the restart of a cycle",
                                 .flags = "--stop-cooldown", .range = at_least(0)});
  visit("min_epochs", o.min_epochs, {.help = "no early stop before this epoch", .flags = "--min-epochs",
                                     .range = at_least(0)});
  visit("min_steps", o.min_steps, {.help = "no early stop before this step", .flags = "--min-steps",
                                   .range = at_least(0)});
  visit("target", o.target, {.help = "stop when the monitored value is this good", .flags = "--target"});
  visit("divergence", o.divergence, {.help = "stop when the monitored value is beyond this", .flags = "--divergence"});
  visit("baseline", o.baseline, {.help = "first value to improve on", .flags = "--baseline"});
  visit("smooth", o.smooth, {.help = "half-life in checks of a moving average of the value; 0: none",
                             .flags = "--stop-smooth", .range = at_least(0)});
  visit("on_nan", o.on_nan, {.help = "a check whose value is not finite", .flags = "--on-nan",
                             .choices = "count ignore stop"});
  visit("restore", o.restore, {.help = "weights that are written at the end", .flags = "--restore",
                               .choices = "best last"});
}

template <class Visitor>
void describe(Visitor& visit, SaveSection& o) {
  visit("every", o.every, {.help = "between saves of the last weights: 10m, 2ep, 500st", .flags = "--save-every",
                           .range = above(0)});
  visit("keep_last", o.keep_last, {.help = "newest checkpoints kept; two that are whole always stay",
                                   .flags = "--keep-last --checkpoint-hist", .range = at_least(1)});
  visit("keep_best", o.keep_best, {.help = "checkpoints kept for the best values of the monitor", .flags = "--keep-best",
                                   .range = at_least(0)});
}

template <class Visitor>
void describe(Visitor& visit, LogSection& o) {
  visit("every", o.every, {.help = "between rows of the training record", .flags = "--log-every", .range = above(0),
                           .unit = steps});
  visit("watch", o.watch, {.help = "between samples of each layer's activations, gradients and updates, for the record and the report; "
                                   "without a value 100st",
                           .flags = "--watch", .range = above(0), .unit = steps, .value_name = "[100st]"});
  visit("tensorboard", o.tensorboard, {.help = "write TensorBoard event files", .flags = "--tensorboard"});
}

template <class Visitor>
void describe(Visitor& visit, MathSection& o) {
  visit("level", o.level, {.help = "repeatable: the same command gives the same bits on this machine; portable: on every x86-64 with AVX2; "
                                   "fast: no such promise",
                           .flags = "--math", .choices = "fast repeatable portable"});
}

OptionTable option_table(RunOptions& options) {
  OptionTable table;
  table.add("run", options.run);
  table.add("model", options.model);
  table.add("data", options.data);
  table.add("augment", options.augment);
  table.add("train", options.train);
  table.add("optim", options.optim);
  table.add("schedule", options.schedule);
  table.add("loss", options.loss);
  table.add("distill", options.distill);
  table.add("average", options.average);
  table.add("eval", options.eval);
  table.add("stop", options.stop);
  table.add("save", options.save);
  table.add("log", options.log);
  table.add("math", options.math);
  for (OptionRow& row : table.rows()) {
    if (const auto it = options.origins.find(row.key); it != options.origins.end()) {
      row.origin = it->second;
    }
  }
  return table;
}

DataOptions data_options(const RunOptions& o) {
  DataOptions d;
  d.source = o.data.source;
  d.format = o.data.format;
  d.cifar_labels = o.data.cifar_labels;
  d.split_val = o.data.split_val;
  d.split_test = o.data.split_test;
  d.limit = o.data.limit;
  d.split_seed = o.data.split_seed;
  d.split_hold = o.data.split_hold;
  d.bag = o.data.bag;
  return d;
}

EarlyStoppingOptions stopping_options(const StopSection& stop) {
  EarlyStoppingOptions s;
  const bool maximize = stop.mode == "auto" ? is_share(stop.monitor) : stop.mode == "max";
  s.mode = maximize ? MonitorMode::max : MonitorMode::min;
  s.patience = stop.patience;
  s.min_delta = stop.min_delta;
  s.rel_delta = stop.rel_delta;
  s.warmup_checks = stop.warmup_checks;
  s.cooldown = stop.cooldown;
  s.min_epochs = stop.min_epochs;
  s.min_steps = stop.min_steps;
  s.target = stop.target;
  s.divergence = stop.divergence;
  s.baseline = stop.baseline;
  s.smooth = stop.smooth;
  s.on_nan = stop.on_nan == "ignore" ? OnNan::ignore : stop.on_nan == "stop" ? OnNan::stop : OnNan::count;
  check_early_stopping(s);
  return s;
}

std::vector<EarlyStoppingOptions> all_stopping_options(const StopSection& stop) {
  std::vector<EarlyStoppingOptions> all = {stopping_options(stop)};
  for (const std::string& monitor : stop.also) {
    EarlyStoppingOptions o = all.front();
    o.mode = is_share(monitor) ? MonitorMode::max : MonitorMode::min;
    o.target.reset();
    o.divergence.reset();
    o.baseline.reset();
    all.push_back(o);
  }
  return all;
}

PlateauOptions plateau_options(const RunOptions& options) {
  PlateauOptions p;
  p.rule.mode = stopping_options(options.stop).mode;
  p.rule.min_delta = options.stop.min_delta;
  p.rule.rel_delta = options.stop.rel_delta;
  p.rule.smooth = options.stop.smooth;
  p.rule.patience = options.schedule.patience;
  p.rule.cooldown = options.schedule.cooldown;
  p.factor = options.schedule.factor;
  p.min_scale = options.optim.lr.is_auto() ? 0 : options.schedule.min_lr / *options.optim.lr;
  check_plateau(p);
  return p;
}

std::string config_text(const RunOptions& options) {
  RunOptions copy = options;
  return option_table(copy).render();
}

std::vector<std::string> find_conflicts(const RunOptions& o) {
  std::vector<std::string> out;
  if (o.train.micro_batch > o.train.batch_size) {
    out.push_back("train.micro_batch must be at most train.batch_size, which counts the whole step; got " +
                  std::to_string(o.train.micro_batch) + " and " + std::to_string(o.train.batch_size));
  }
  const bool one_cycle = !o.schedule.name.is_auto() && *o.schedule.name == "one_cycle";
  if (one_cycle && !o.schedule.warmup.is_auto() && o.schedule.warmup->amount > 0) {
    out.push_back("schedule.warmup must be 0 with schedule.name one_cycle, which rises by itself (schedule.pct)");
  }
  if (!o.schedule.name.is_auto() && *o.schedule.name == "multistep" && o.schedule.milestones.empty()) {
    out.push_back("schedule.milestones must be given with schedule.name multistep: --decay-milestones 30,60");
  }
  if (!o.schedule.warmup.is_auto() && o.schedule.warmup->is_time()) {
    out.push_back("schedule.warmup must be in ep, st or %, got " + o.schedule.warmup->text());
  }
  if (o.schedule.every.is_time()) {
    out.push_back("schedule.every must be in ep, st or %, got " + o.schedule.every.text());
  }
  if (o.eval.every.is_time()) {
    out.push_back("eval.every must be in ep, st or %, got " + o.eval.every.text());
  }
  if (o.log.watch && o.log.watch->is_time()) {
    out.push_back("log.watch must be in ep, st or %, got " + o.log.watch->text());
  }
  if (o.average.ema && o.average.ema->is_time()) {
    out.push_back("average.ema must be in ep, st or %, got " + o.average.ema->text());
  }
  if (o.average.ema && o.average.swa) {
    out.push_back("average.ema and average.swa both make the saved model: give one of them");
  }
  if (o.average.swa && o.average.swa->is_time()) {
    out.push_back("average.swa must be in ep, st or %, got " + o.average.swa->text());
  }
  if (!o.average.swa && !o.average.swa_lr.is_auto()) {
    out.push_back("average.swa_lr is the rate of average.swa: give --swa 75% too");
  }
  if (o.average.swa && o.average.reestimate > 0) {
    out.push_back("average.swa computes batch statistics anew by itself: leave out average.reestimate");
  }
  if (!o.stop.also.empty() && !o.stop.patience) {
    out.push_back("stop.also names monitors that run out of patience: give stop.patience too");
  }
  if (std::find(o.stop.also.begin(), o.stop.also.end(), o.stop.monitor) != o.stop.also.end()) {
    out.push_back("stop.also must name other metrics than stop.monitor, got " + o.stop.monitor);
  }
  if (o.log.every.is_time()) {
    out.push_back("log.every must be in ep, st or %, got " + o.log.every.text());
  }
  if (!o.optim.lr.is_auto() && o.schedule.min_lr > *o.optim.lr) {
    out.push_back("schedule.min_lr must be at most optim.lr");
  }
  if (!o.optim.lr.is_auto() && o.schedule.warmup_lr > *o.optim.lr) {
    out.push_back("schedule.warmup_lr must be at most optim.lr");
  }
  const bool plateau = !o.schedule.name.is_auto() && *o.schedule.name == "plateau";
  if (plateau && o.data.split_val == 0) {
    out.push_back("schedule.name plateau goes by a validation part: data.split.val must be above 0");
  }
  if (o.schedule.cycles > 1 && !o.schedule.name.is_auto() && *o.schedule.name != "cosine") {
    out.push_back("schedule.cycles are those of schedule.name cosine, got " + *o.schedule.name);
  }
  if (o.data.split_val + o.data.split_test >= 1) {
    out.push_back("data.split.val and data.split.test must leave something to train on");
  }
  if (o.data.split_hold > 0 && o.data.bag.starts_with("fold:")) {
    out.push_back("data.split.hold must be 0 with data.bag fold, which holds a fold out");
  }
  if (o.model.pretrained.empty() && (o.model.pretrained_partial || o.model.pretrained_head != "auto")) {
    out.push_back("model.pretrained_partial and model.pretrained_head need pre-trained weights: give --pretrained FILE");
  }
  const DistillSection plain;
  if (o.distill.teacher.empty() && (o.distill.alpha != plain.alpha || o.distill.temperature != plain.temperature)) {
    out.push_back("distill.alpha and distill.temperature are of learning from another model: give --teacher MODEL");
  }
  if (!o.run.name.empty() && !o.run.out.empty()) {
    out.push_back("run.name and run.out both name the run's folder: give one of them");
  }
  if (o.run.name.find('/') != std::string::npos || o.run.name == "." || o.run.name == "..") {
    out.push_back("run.name must be a folder's name without /, got \"" + o.run.name + "\"; use --out DIR");
  }
  const auto origin = [&](const char* key) {
    const auto it = o.origins.find(key);
    return it == o.origins.end() ? std::string("default") : it->second;
  };
  // A run's config.toml has both; only a preset that the user asks for now contradicts a pipeline.
  const std::string preset = origin("augment.preset");
  if (!o.augment.train.is_auto() && (preset == "flag" || preset == "env")) {
    out.push_back("augment.train and augment.preset both choose the training pipeline: give one of them, or "
                  "--augment-train auto");
  }
  return out;
}

}  // namespace ballast

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/data/csv.h>
#include <ballast/data/loader.h>
#include <ballast/data/order.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <sstream>
#include <thread>
#include <unordered_set>

namespace ballast {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kSubstituteAttempts = 8;
// With workers = auto: another thread if the consumer waited for more than this share of so many
// steps.
constexpr int kWaitWindow = 50;
constexpr double kWaitShare = 0.02;

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

/// 10000 -> "10,000".
std::string grouped(int64_t n) {
  std::string text = std::to_string(n);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

/// What one thread needs.
struct Worker {
  std::vector<std::byte> buffer;
  Scratch scratch;
};

struct Slot {
  BatchSlot batch;
  std::atomic<int64_t> remaining{0};
  // Guarded by the state's mutex.
  bool ready = false;
  std::vector<std::pair<int64_t, BadSample>> bad;  // by row
  std::exception_ptr error;
  int64_t error_row = 0;
  std::vector<float> mix_row;
};

// Null where all are equal.
std::shared_ptr<const WeightedPlaces> weights_of(const RoleView& role) {
  std::vector<double> weights;
  for (const uint64_t id : *role.ids) weights.push_back(role.source->weight(static_cast<int64_t>(id)));
  if (std::ranges::all_of(weights, [&](double w) { return w == weights[0] && w > 0; })) return nullptr;
  check<DataError>(std::ranges::any_of(weights, [](double w) { return w > 0; }), "data", "a picture of role \"", to_string(role.role),
                   "\" must have a weight above 0, got none");
  return std::make_shared<const WeightedPlaces>(weights);
}

}  // namespace

struct Loader::State {
  State(RoleView view, Pipeline steps, LoaderOptions opts)
      : role(std::move(view)),
        pipeline(std::move(steps)),
        plain(pipeline.plain()),
        options(opts),
        order(EpochOrder::sequential()) {}

  const RoleView role;
  const Pipeline pipeline, plain;
  LoaderOptions options;
  int64_t samples = 0, batches = 0;
  int64_t ring = 1;
  std::vector<Slot> slots;

  // Of the epoch; written while no worker is active.
  int64_t epoch = 0;
  bool late() const { return options.plain_from >= 0 && epoch >= options.plain_from; }
  EpochOrder order;
  std::shared_ptr<const WeightedPlaces> weights;  // null where all are equal
  Key epoch_key;

  std::atomic<int64_t> next_position{0};
  std::atomic<int64_t> released{0};  // batches below released + ring may be written
  std::atomic<bool> cancelled{true};

  std::mutex mutex;
  std::condition_variable start, space, ready, idle;
  uint64_t generation = 0;
  int active = 0;
  bool stop = false;
  std::vector<std::thread> threads;
  int most_threads = 0;

  // The consumer's.
  Worker inline_worker;
  int64_t current = -1;  // batch that the consumer holds
  int64_t next_batch = 0;
  std::vector<BadSample> bad;
  std::unordered_set<uint64_t> bad_ids;
  double waited = 0.0, window_waited = 0.0;
  int window_steps = 0;
  Clock::time_point window_start;

  Slot& slot_of(int64_t batch) { return slots[static_cast<size_t>(batch % ring)]; }
  int64_t rows_of(int64_t batch) const {
    return std::min(options.batch_size, samples - batch * options.batch_size);
  }

  void resolve_size();
  void prepare(int64_t batch);
  void render(uint64_t id, Key key, BatchSlot& batch, int64_t row, Worker& worker) const;
  void load_row(int64_t position, Worker& worker);
  void load_row_of(Slot& slot, int64_t row, uint64_t id, uint64_t repeat, Worker& worker);
  void substitute(Slot& slot, int64_t row, uint64_t id, Key key, Worker& worker, BadSample& record);
  void work(Worker& worker);
  void mix(int64_t batch);
  void serve(uint64_t seen);
  void add_thread();
  void halt();
  BatchSlot* deliver(int64_t batch);
  void note_bad(const Slot& slot);
};

/// Takes what the options leave open from the pipeline and the first readable picture.
void Loader::State::resolve_size() {
  if (const auto size = pipeline.output_size(); size && options.height == 0 && options.width == 0) {
    options.height = size->first;
    options.width = size->second;
  }
  if (options.channels == 0) {
    options.channels = role.source->channels();
  }
  if (options.channels != 0 && options.height != 0 && options.width != 0) {
    return;
  }
  std::vector<std::byte> buffer;
  std::string first_error;
  for (int64_t i = 0; i < role.size(); ++i) {
    try {
      const auto id = static_cast<int64_t>(role.id(i));
      const Stored stored = role.source->read(id, buffer);
      ImageInfo info;
      if (stored.encoded()) {
        info = read_info(stored.file);
      } else {
        info.h = stored.pixels.h;
        info.w = stored.pixels.w;
        info.c = stored.pixels.c;
      }
      if (options.channels == 0) {
        options.channels = info.c == 1 ? 1 : 3;
      }
      if (options.height == 0 || options.width == 0) {
        options.height = info.h;
        options.width = info.w;
      }
      return;
    } catch (const DecodeError& e) {
      if (first_error.empty()) {
        first_error = role.source->name(static_cast<int64_t>(role.id(i))) + ": " + e.what();
      }
    }
  }
  fail<DataError>("loader", "no picture of role \"", to_string(role.role),
                  "\" can be read (first: ", first_error, ")");
}

/// Makes the slot of a batch ready to be written.
void Loader::State::prepare(int64_t batch) {
  if (batch >= batches) {
    return;
  }
  Slot& slot = slot_of(batch);
  slot.batch.n = rows_of(batch);
  slot.bad.clear();
  slot.error = nullptr;
  slot.ready = false;
  slot.remaining.store(slot.batch.n, std::memory_order_relaxed);
}

void Loader::State::render(uint64_t id, Key key, BatchSlot& batch, int64_t row,
                           Worker& worker) const {
  const Stored stored = role.source->read(static_cast<int64_t>(id), worker.buffer);
  const Pipeline& steps = late() ? plain : pipeline;
  if (stored.encoded()) {
    steps.run_encoded(stored.file, key, batch, row, worker.scratch);
  } else {
    steps.run_image(stored.pixels, key, batch, row, worker.scratch);
  }
}

void Loader::State::load_row_of(Slot& slot, int64_t row, uint64_t id, uint64_t repeat, Worker& worker) {
  const auto r = static_cast<size_t>(row);
  BatchSlot& batch = slot.batch;
  const Key key = repeat == 0 ? epoch_key.fold_in(id) : epoch_key.fold_in(id).fold_in(repeat);
  batch.id[r] = id;
  batch.label[r] = role.source->label(static_cast<int64_t>(id));
  batch.weight[r] = 1.0f;
  try {
    render(id, key, batch, row, worker);
  } catch (const DecodeError& e) {
    const auto index = static_cast<int64_t>(id);
    BadSample record{.id = id,
                     .path = role.source->name(index),
                     .role = role.role,
                     .reason = e.reason(),
                     .detail = e.detail(),
                     .action = std::string(to_string(options.on_bad)),
                     .substitute_id = std::nullopt};
    try {
      record.bytes = static_cast<int64_t>(role.source->read(index, worker.buffer).file.size());
    } catch (const DecodeError&) {
      record.bytes = 0;
    }
    check<DataError>(options.on_bad != OnBad::error, "data", role.source->path(index), ": ",
                     to_string(e.reason()), ": ", e.detail());
    if (options.on_bad == OnBad::skip) {
      std::fill_n(batch.row(row), batch.sample_size(), 0.0f);
      batch.weight[r] = 0.0f;
    } else {
      substitute(slot, row, id, key, worker, record);
    }
    const std::lock_guard lock(mutex);
    slot.bad.emplace_back(row, std::move(record));
  }
}

void Loader::State::substitute(Slot& slot, int64_t row, uint64_t id, Key key, Worker& worker,
                               BadSample& record) {
  const Key choice = Key(options.seed).fold_in("substitute").fold_in(id);
  for (uint32_t attempt = 0; attempt < kSubstituteAttempts; ++attempt) {
    const uint64_t other = role.id(
        static_cast<int64_t>(slot_below(choice, 0, static_cast<uint64_t>(role.size()), attempt)));
    if (other == id) {
      continue;
    }
    try {
      render(other, key, slot.batch, row, worker);
    } catch (const DecodeError&) {
      continue;
    }
    slot.batch.label[static_cast<size_t>(row)] = role.source->label(static_cast<int64_t>(other));
    record.substitute_id = other;
    return;
  }
  fail<DataError>("data", role.source->path(static_cast<int64_t>(id)), ": ",
                  to_string(record.reason), ": ", record.detail, "; none of ", kSubstituteAttempts,
                  " substitutes can be used either");
}

void Loader::State::load_row(int64_t position, Worker& worker) {
  Slot& slot = slot_of(position / options.batch_size);
  const int64_t row = position % options.batch_size;
  const EpochOrder::Pick pick = order(static_cast<uint64_t>(position));
  const uint64_t id = role.id(static_cast<int64_t>(pick.picture));
  std::exception_ptr error;
  try {
    load_row_of(slot, row, id, pick.repeat, worker);
    return;
  } catch (const DataError&) {
    error = std::current_exception();
  } catch (const std::exception& e) {
    std::ostringstream text;
    text << "[loader] " << role.source->name(static_cast<int64_t>(id)) << " (id " << id
         << ", epoch " << epoch << "): " << e.what();
    error = std::make_exception_ptr(std::runtime_error(text.str()));
  }
  const std::lock_guard lock(mutex);
  if (!slot.error || row < slot.error_row) {
    slot.error = error;
    slot.error_row = row;
  }
}

/// Mixes a batch whose rows are all there.
void Loader::State::mix(int64_t batch) {
  Slot& slot = slot_of(batch);
  slot.batch.mixed = false;
  const MixOptions& m = options.mix;
  if (!m.on() || late() || slot.error || (m.off_epoch >= 0 && epoch >= m.off_epoch)) {
    return;
  }
  const Key key = Key(options.seed).fold_in("mix").fold_in(static_cast<uint64_t>(epoch))
                      .fold_in(static_cast<uint64_t>(batch * options.batch_size));
  mix_batch(slot.batch, m, key, slot.mix_row);
}

/// Claims positions until the epoch ends or is cancelled.
void Loader::State::work(Worker& worker) {
  while (!cancelled.load(std::memory_order_relaxed)) {
    const int64_t position = next_position.fetch_add(1, std::memory_order_relaxed);
    if (position >= samples) {
      return;
    }
    const int64_t batch = position / options.batch_size;
    if (batch >= released.load(std::memory_order_acquire) + ring) {
      std::unique_lock lock(mutex);
      space.wait(lock, [&] { return cancelled || batch < released + ring; });
      if (cancelled) {
        return;
      }
    }
    load_row(position, worker);
    Slot& slot = slot_of(batch);
    if (slot.remaining.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      mix(batch);
      const std::lock_guard lock(mutex);
      slot.ready = true;
      ready.notify_one();
    }
  }
}

void Loader::State::serve(uint64_t seen) {
  Worker worker;
  for (;;) {
    {
      std::unique_lock lock(mutex);
      start.wait(lock, [&] { return stop || generation != seen; });
      if (stop) {
        return;
      }
      seen = generation;
    }
    work(worker);
    const std::lock_guard lock(mutex);
    if (--active == 0) {
      idle.notify_one();
    }
  }
}

/// With the mutex held. The new thread joins the epoch that is running.
void Loader::State::add_thread() {
  threads.emplace_back([this, seen = generation - 1] { serve(seen); });
  ++active;
}

/// Ends work in flight.
void Loader::State::halt() {
  std::unique_lock lock(mutex);
  cancelled = true;
  space.notify_all();
  idle.wait(lock, [&] { return active == 0; });
}

void Loader::State::note_bad(const Slot& slot) {
  for (const auto& [row, record] : slot.bad) {
    if (bad_ids.insert(record.id).second) {
      bad.push_back(record);
    }
  }
  if (!slot.bad.empty() &&
      static_cast<double>(bad.size()) > options.max_bad * static_cast<double>(role.size())) {
    const BadSample& first = bad.front();
    std::ostringstream share;
    share << 100.0 * options.max_bad;
    fail<DataError>("data", grouped(static_cast<int64_t>(bad.size())), " of ", grouped(role.size()),
                    " files of role \"", to_string(role.role),
                    "\" cannot be used (first: ", first.path, ": ", to_string(first.reason), ": ",
                    first.detail, "), limit is ", share.str(), " %");
  }
}

BatchSlot* Loader::State::deliver(int64_t batch) {
  Slot& slot = slot_of(batch);
  current = batch;
  next_batch = batch + 1;
  std::sort(slot.bad.begin(), slot.bad.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  if (slot.error) {
    std::rethrow_exception(slot.error);
  }
  note_bad(slot);
  return &slot.batch;
}

Loader::Loader(RoleView role, Pipeline pipeline, LoaderOptions options) {
  check(options.batch_size >= 1, "loader", "batch_size must be >= 1, got ", options.batch_size);
  check(options.workers >= -1, "loader", "workers must be >= 0, or -1 for auto, got ",
        options.workers);
  check(options.prefetch >= 1, "loader", "prefetch must be >= 1, got ", options.prefetch);
  check(options.max_bad >= 0 && options.max_bad <= 1, "loader", "max_bad must be in [0, 1], got ",
        options.max_bad);
  check(options.channels == 0 || options.channels == 1 || options.channels == 3, "loader",
        "channels must be 1 or 3, got ", options.channels);
  check(options.height >= 0 && options.width >= 0, "loader", "height and width must be >= 0, got ",
        options.height, " and ", options.width);
  check<DataError>(role.source && role.ids && role.size() > 0, "loader", "role \"",
                   to_string(role.role), "\" has no picture");
  state_ = std::make_unique<State>(std::move(role), std::move(pipeline), options);
  State& s = *state_;
  s.resolve_size();
  if (options.shuffle) s.weights = weights_of(s.role);
  const int64_t n = s.role.size();
  const bool drop =
      options.drop_single && options.batch_size > 1 && n > 1 && n % options.batch_size == 1;
  s.samples = drop ? n - 1 : n;
  s.batches = (s.samples + options.batch_size - 1) / options.batch_size;
  s.ring = options.workers == 0
               ? 1
               : std::clamp<int64_t>(options.prefetch, 2, std::max<int64_t>(2, s.batches));
  s.slots = std::vector<Slot>(static_cast<size_t>(s.ring));
  for (Slot& slot : s.slots) {
    slot.batch.reset(std::min(options.batch_size, s.samples), s.options.channels, s.options.height,
                     s.options.width, options.layout);
  }
  s.most_threads = options.workers >= 0 ? options.workers : std::max(1, usable_cores() - 1);
}

Loader::~Loader() {
  if (!state_) {
    return;
  }
  State& s = *state_;
  s.halt();
  {
    const std::lock_guard lock(s.mutex);
    s.stop = true;
  }
  s.start.notify_all();
  for (std::thread& thread : s.threads) {
    thread.join();
  }
}

int64_t Loader::batches() const { return state_->batches; }
int64_t Loader::samples() const { return state_->samples; }

void Loader::start_epoch(int64_t epoch, int64_t first_batch) {
  State& s = *state_;
  check(epoch >= 0 && first_batch >= 0 && first_batch <= s.batches, "loader",
        "epoch must be >= 0 and the first batch in [0, ", s.batches, "], got ", epoch, " and ",
        first_batch);
  s.halt();
  s.epoch = epoch;
  s.order = s.options.shuffle
                ? EpochOrder::shuffled(Key(s.options.seed), static_cast<uint64_t>(epoch),
                                       static_cast<uint64_t>(s.role.size()), s.weights)
                : EpochOrder::sequential();
  s.epoch_key = Key(s.options.seed).fold_in("augment").fold_in(static_cast<uint64_t>(epoch));
  s.current = -1;
  s.next_batch = first_batch;
  s.window_start = Clock::now();
  s.window_waited = 0.0;
  s.window_steps = 0;
  for (int64_t b = first_batch; b < first_batch + s.ring; ++b) {
    s.prepare(b);
  }
  const std::lock_guard lock(s.mutex);
  s.next_position = first_batch * s.options.batch_size;
  s.released = first_batch;
  s.cancelled = false;
  ++s.generation;
  s.active = static_cast<int>(s.threads.size());
  s.start.notify_all();
  const int wanted = s.options.workers >= 0 ? s.options.workers : 1;
  while (static_cast<int>(s.threads.size()) < wanted) {
    s.add_thread();
  }
}

BatchSlot* Loader::next() {
  State& s = *state_;
  if (s.cancelled) {
    return nullptr;
  }
  const bool threaded = s.options.workers != 0;
  if (threaded && s.current >= 0) {
    s.prepare(s.current + s.ring);
    const std::lock_guard lock(s.mutex);
    s.released.store(s.current + 1, std::memory_order_release);
    s.space.notify_all();
  }
  s.current = -1;
  const int64_t batch = s.next_batch;
  if (batch >= s.batches) {
    return nullptr;
  }
  if (!threaded) {
    s.prepare(batch);
    const int64_t first = batch * s.options.batch_size;
    for (int64_t row = 0; row < s.rows_of(batch); ++row) {
      if (s.cancelled.load(std::memory_order_relaxed)) {
        return nullptr;
      }
      s.load_row(first + row, s.inline_worker);
    }
    s.mix(batch);
    return s.deliver(batch);
  }
  const auto before = Clock::now();
  {
    std::unique_lock lock(s.mutex);
    s.ready.wait(lock, [&] { return s.cancelled || s.slot_of(batch).ready; });
    if (s.cancelled) {
      return nullptr;
    }
    const auto after = Clock::now();
    s.waited += seconds(after - before);
    s.window_waited += seconds(after - before);
    if (++s.window_steps == kWaitWindow) {
      if (s.options.workers < 0 && static_cast<int>(s.threads.size()) < s.most_threads &&
          s.window_waited > kWaitShare * seconds(after - s.window_start)) {
        s.add_thread();
      }
      s.window_start = after;
      s.window_waited = 0.0;
      s.window_steps = 0;
    }
  }
  return s.deliver(batch);
}

void Loader::cancel() {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  s.cancelled = true;
  s.space.notify_all();
  s.ready.notify_all();
}

const std::vector<BadSample>& Loader::bad_samples() const { return state_->bad; }

int Loader::workers() const {
  const std::lock_guard lock(state_->mutex);
  return static_cast<int>(state_->threads.size());
}

double Loader::waited_seconds() const { return state_->waited; }
int32_t Loader::channels() const { return state_->options.channels; }
int32_t Loader::height() const { return state_->options.height; }
int32_t Loader::width() const { return state_->options.width; }

std::string_view to_string(OnBad on_bad) {
  return on_bad == OnBad::substitute ? "substitute" : on_bad == OnBad::skip ? "skip" : "error";
}

OnBad parse_on_bad(std::string_view text) {
  if (text == "substitute") {
    return OnBad::substitute;
  }
  if (text == "skip") {
    return OnBad::skip;
  }
  check(text == "error" || text == "stop", "loader",
        "on_bad must be substitute, skip or error, got \"", text, '"');
  return OnBad::error;
}

std::string bad_samples_csv(const std::vector<BadSample>& rows) {
  std::ostringstream csv;
  csv << "id,path,role,reason,detail,bytes,action,substitute_id\n";
  for (const BadSample& row : rows) {
    csv << row.id << ',' << csv_field(row.path) << ',' << to_string(row.role) << ','
        << to_string(row.reason) << ',' << csv_field(row.detail) << ',' << row.bytes << ','
        << row.action << ',';
    if (row.substitute_id) {
      csv << *row.substitute_id;
    }
    csv << '\n';
  }
  return csv.str();
}

}  // namespace ballast

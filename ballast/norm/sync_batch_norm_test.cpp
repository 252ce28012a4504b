#include <ballast/norm/sync_batch_norm.h>

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

// What ranks in threads of one process share: each all_gather waits until every rank has given its tensor.
class Meeting {
 public:
  explicit Meeting(int world) : world_(world), given_(static_cast<size_t>(world)) {}
  torch::Tensor exchange(int rank, const torch::Tensor& t) {
    std::unique_lock lock(mutex_);
    const int64_t round = round_;
    given_[static_cast<size_t>(rank)] = t.detach().clone();
    if (++arrived_ == world_) {
      result_ = at::stack(given_);
      arrived_ = 0;
      ++round_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return round_ != round; });
    }
    return result_.clone();
  }
  int world() const { return world_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int world_, arrived_ = 0;
  int64_t round_ = 0;
  std::vector<torch::Tensor> given_;
  torch::Tensor result_;
};

struct ThreadGather : Gather {
  ThreadGather(std::shared_ptr<Meeting> m, int r) : meeting(std::move(m)), own(r) {}
  int rank() const override { return own; }
  int world() const override { return meeting->world(); }
  torch::Tensor all_gather(const torch::Tensor& t) override {
    ++calls;
    return meeting->exchange(own, t);
  }
  std::shared_ptr<Meeting> meeting;
  int own, calls = 0;
};

struct RankResult {
  torch::Tensor y, dx, dweight, dbias, running_mean, running_var;
  int64_t tracked = 0;
};

SyncBatchNorm make(std::shared_ptr<Gather> gather, std::optional<double> momentum = 0.1) {
  SyncBatchNorm norm(BatchNormOptions{.num_features = 3, .momentum = momentum, .act = Act::relu}, std::move(gather));
  norm->to(torch::kDouble);
  torch::NoGradGuard no_grad;
  norm->weight.copy_(draw({3}, 1));
  norm->bias.copy_(draw({3}, 2));
  return norm;
}

RankResult step(SyncBatchNorm& norm, const torch::Tensor& rows, const torch::Tensor& weights) {
  torch::Tensor x = rows.detach().clone().requires_grad_();
  const torch::Tensor y = norm->forward(x);
  (y * weights).sum().backward();
  return {y.detach(), x.grad(), norm->weight.grad(), norm->bias.grad(), norm->running_mean.clone(),
          norm->running_var.clone(), norm->num_batches_tracked.item<int64_t>()};
}

std::vector<RankResult> in_threads(const torch::Tensor& x, const torch::Tensor& weights, std::vector<int64_t> rows) {
  auto meeting = std::make_shared<Meeting>(static_cast<int>(rows.size()));
  std::vector<RankResult> results(rows.size());
  std::vector<std::thread> threads;
  int64_t first = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    threads.emplace_back([&, r, first] {
      SyncBatchNorm norm = make(std::make_shared<ThreadGather>(meeting, static_cast<int>(r)));
      results[r] = step(norm, x.narrow(0, first, rows[r]), weights.narrow(0, first, rows[r]));
    });
    first += rows[r];
  }
  for (std::thread& t : threads) t.join();
  return results;
}

TEST(SyncBatchNorm, UnevenAndEmptyRanksEqualOneProcess) {
  const torch::Tensor x = draw({8, 3, 4, 5}) + 3, weights = draw({8, 3, 4, 5}, 9);
  SyncBatchNorm alone = make(nullptr);
  const RankResult whole = step(alone, x, weights);
  for (const std::vector<int64_t>& rows : std::vector<std::vector<int64_t>>{{5, 3}, {8, 0}, {1, 2, 5}}) {
    const std::vector<RankResult> ranks = in_threads(x, weights, rows);
    std::vector<torch::Tensor> y, dx;
    torch::Tensor dweight = torch::zeros({3}, torch::kDouble), dbias = dweight.clone();
    for (const RankResult& r : ranks) {
      y.push_back(r.y);
      dx.push_back(r.dx);
      dweight += r.dweight;
      dbias += r.dbias;
      EXPECT_TRUE(torch::equal(r.running_mean, ranks[0].running_mean)) << "equal bits everywhere";
      EXPECT_TRUE(torch::equal(r.running_var, ranks[0].running_var));
      EXPECT_TRUE(torch::allclose(r.running_mean, whole.running_mean, 1e-6, 1e-9));
      EXPECT_TRUE(torch::allclose(r.running_var, whole.running_var, 1e-6, 1e-9));
      EXPECT_EQ(r.tracked, 1);
    }
    EXPECT_TRUE(torch::allclose(at::cat(y), whole.y, 1e-6, 1e-9));
    EXPECT_TRUE(torch::allclose(at::cat(dx), whole.dx, 1e-6, 1e-9));
    EXPECT_TRUE(torch::allclose(dweight, whole.dweight, 1e-6, 1e-9));
    EXPECT_TRUE(torch::allclose(dbias, whole.dbias, 1e-6, 1e-9));
  }
}

TEST(SyncBatchNorm, AWorldOfOneAndEvaluationExchangeNothing) {
  auto gather = std::make_shared<ThreadGather>(std::make_shared<Meeting>(1), 0);
  SyncBatchNorm norm = make(gather);
  BatchNorm plain(norm->options);
  plain->to(torch::kDouble);
  {
    torch::NoGradGuard no_grad;
    plain->weight.copy_(norm->weight);
    plain->bias.copy_(norm->bias);
  }
  const torch::Tensor x = draw({4, 3, 2, 2});
  EXPECT_TRUE(torch::equal(norm->forward(x), plain->forward(x)));
  EXPECT_TRUE(torch::equal(norm->running_var, plain->running_var));
  auto two = std::make_shared<ThreadGather>(std::make_shared<Meeting>(2), 0);
  norm->gather = two;
  norm->eval();
  plain->eval();
  EXPECT_TRUE(torch::equal(norm->forward(x), plain->forward(x)));
  EXPECT_EQ(gather->calls + two->calls, 0);
}

TEST(SyncBatchNorm, WithOneRankItsGradientsAreThoseOfDifferences) {
  ThreadGather gather(std::make_shared<Meeting>(1), 0);
  const BatchNormOptions options{.num_features = 2, .eps = 1e-3};
  test::expect_gradients(
      [&](const test::Inputs& in) { return sync_batch_norm(in[0], in[1], in[2], gather, options).y; },
      {draw({3, 2, 2, 2}), draw({2}, 1), draw({2}, 2)}, /*second=*/false);
}

TEST(SyncBatchNorm, WithoutParametersItOnlyNormalizes) {
  ThreadGather gather(std::make_shared<Meeting>(1), 0);
  torch::Tensor x = draw({4, 3, 2, 2}).requires_grad_();
  const torch::Tensor y = sync_batch_norm(x, {}, {}, gather, {.num_features = 3}).y;
  EXPECT_LT(y.mean({0, 2, 3}).abs().max().item<double>(), 1e-12);
  (y * draw({4, 3, 2, 2}, 2)).sum().backward();
  EXPECT_LT(x.grad().sum({0, 2, 3}).abs().max().item<double>(), 1e-12);
}

TEST(SyncBatchNorm, CloneSharesTheProcessesAndErrorsNameWhatIsRequired) {
  auto gather = std::make_shared<ThreadGather>(std::make_shared<Meeting>(1), 0);
  SyncBatchNorm norm = make(gather);
  norm->forward(draw({4, 3, 2, 2}));
  const auto copy = std::dynamic_pointer_cast<SyncBatchNormImpl>(norm->clone());
  EXPECT_EQ(copy->gather, gather);
  EXPECT_TRUE(torch::equal(copy->running_var, norm->running_var));
  EXPECT_EQ(message_of([&] { sync_batch_norm(torch::zeros({1, 3, 1, 1}), {}, {}, *gather, {.num_features = 3}); }),
            "[sync_batch_norm] x must have more than 1 value per channel in training, got 1 on all ranks together");
  EXPECT_EQ(message_of([&] { sync_batch_norm(torch::zeros({1, 4, 1, 1}), {}, {}, *gather, {.num_features = 3}); }),
            "[sync_batch_norm] x must have 3 channels, got (1, 4, 1, 1)");
  struct Lost : ThreadGather {
    using ThreadGather::ThreadGather;
    torch::Tensor all_gather(const torch::Tensor&) override {
      throw std::runtime_error("[sync_batch_norm] all ranks must answer within 20 s, got none from rank 1");
    }
  };
  Lost lost(std::make_shared<Meeting>(2), 0);
  EXPECT_EQ(message_of<std::runtime_error>([&] { sync_batch_norm(draw({4, 3}), {}, {}, lost, {.num_features = 3}); }),
            "[sync_batch_norm] all ranks must answer within 20 s, got none from rank 1");
}

}  // namespace
}  // namespace ballast

#include <ballast/probe/observer.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(Observer, SeesOperatorsInOrderAndNotWhatTheyAreMadeOf) {
  const torch::Tensor x = torch::randn({2, 3, 8, 8}), w = torch::randn({4, 3, 3, 3}, torch::requires_grad());
  const torch::Tensor v = torch::ones({5, 36});
  std::vector<std::string> names;
  std::vector<torch::Tensor> outputs;
  torch::Tensor y;
  observe([&] { y = at::linear(at::conv2d(x, w, {}, {2, 2}).relu_().flatten(1), v); },
          [&](const ObservedOp& op) {
            names.push_back(op.name);
            outputs.push_back(op.outputs.at(0));
            if (op.name == "aten::conv2d") {
              EXPECT_TRUE(op.inputs.at(1).toTensor().is_same(w));
              EXPECT_EQ(op.inputs.at(3).toIntVector(), (std::vector<int64_t>{2, 2}));
              EXPECT_EQ(input_tensors(op).size(), 2u);
            }
          });
  EXPECT_THAT(names, testing::IsSupersetOf({"aten::conv2d", "aten::relu_", "aten::flatten", "aten::linear"}));
  EXPECT_EQ(names.front(), "aten::conv2d");
  EXPECT_EQ(names.back(), "aten::linear");
  EXPECT_TRUE(outputs.back().is_same(y));
  EXPECT_TRUE(y.requires_grad());
}

TEST(Observer, NothingIsSeenAfterwardsNorInsideTheCallback) {
  int calls = 0;
  observe([] { at::relu(torch::ones({2})); },
          [&](const ObservedOp&) {
            ++calls;
            at::relu(torch::ones({2}));
          });
  const int seen = calls;
  EXPECT_GE(seen, 1);
  EXPECT_LE(seen, 3);
  at::relu(torch::ones({2}));
  EXPECT_EQ(calls, seen);
}

TEST(Observer, ListsOfTensorsAreInputsAndOutputs) {
  const torch::Tensor a = torch::ones({2}), b = torch::ones({3});
  size_t inputs = 0, outputs = 0;
  observe([&] { at::split(at::cat({a, b}), 2); },
          [&](const ObservedOp& op) {
            if (op.name == "aten::cat") inputs = input_tensors(op).size();
            if (op.name == "aten::split") outputs = op.outputs.size();
          });
  EXPECT_EQ(inputs, 2u);
  EXPECT_EQ(outputs, 3u);
}

TEST(Observer, ErrorsOfBothSidesComeOut) {
  EXPECT_THROW(observe([] { throw std::domain_error("run"); }, [](const ObservedOp&) {}), std::domain_error);
  int calls = 0;
  EXPECT_THROW(observe([] { at::relu(at::relu(torch::ones({2}))); },
                       [&](const ObservedOp&) {
                         ++calls;
                         throw std::domain_error("on_op");
                       }),
               std::domain_error);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace ballast

#include <ballast/ensemble/size_curve.h>

#include <gtest/gtest.h>

#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/test_golden.h>

namespace ballast {
namespace {

TEST(SizeCurve, ItsEndsAreTheMeanMemberAndTheWholeMean) {
  const Golden g;
  const auto members = g.members();
  const auto curve = size_curve(members, g.label, Key(1), 2);
  ASSERT_EQ(curve.size(), members.size());
  const Combined all = combine(members);
  const Quality q = quality(all.view(), g.label);
  EXPECT_NEAR(curve.back().accuracy.value, q.accuracy, 1e-12);
  EXPECT_NEAR(curve.back().nll.value, q.nll, 1e-5);
  double mean = 0;
  for (const Predictions& m : members) mean += quality({probabilities(m).data(), m.n, m.k, false}, g.label).nll / 6;
  EXPECT_NEAR(curve[0].nll.value, mean, 0.1);  // 200 of 6 members
  for (const SizePoint& p : curve) {
    EXPECT_LT(p.nll.bounds.low, p.nll.value);
    EXPECT_GT(p.nll.bounds.high, p.nll.value);
  }
  EXPECT_EQ(size_curve(members, g.label, Key(1), 1)[2].nll.bounds.low, curve[2].nll.bounds.low);
}

TEST(SizeCurve, OneMemberIsAPoint) {
  const Golden g;
  const auto members = g.members();
  const auto curve = size_curve(std::span(members).first(1), g.label, Key(1));
  const Quality q = quality({probabilities(members[0]).data(), members[0].n, members[0].k, false}, g.label);
  EXPECT_NEAR(curve[0].nll.value, q.nll, 1e-6);
  // 200 of the resamplings of bootstrap_quality(), whose interval is of 1,000.
  const QualityBounds b = bootstrap_quality({probabilities(members[0]).data(), members[0].n, members[0].k, false}, g.label, {}, Key(1));
  EXPECT_NEAR(curve[0].nll.bounds.low, b.nll.low, 0.03);
  EXPECT_NEAR(curve[0].nll.bounds.high, b.nll.high, 0.03);
}

}  // namespace
}  // namespace ballast

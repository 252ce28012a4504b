#include <ballast/augment/policy_space.h>

#include <cstdlib>
#include <string>

#include <ballast/base/check.h>

namespace ballast::detail {

namespace {

// "op probability:magnitude", pairs parted by ";": tables of the AutoAugment paper.
constexpr std::array<std::string_view, 3> kTables = {
    "Pos.4:8 Rot.6:9; Sol.6:5 AC.6; Eq.8 Eq.6; Pos.6:7 Pos.6:6; Eq.4 Sol.2:4; Eq.4 Rot.8:8; Sol.6:3 Eq.6; Pos.8:5 Eq1; "
    "Rot.2:3 Sol.6:8; Eq.6 Pos.4:6; Rot.8:8 Col.4:0; Rot.4:9 Eq.6; Eq0 Eq.8; Inv.6 Eq1; Col.6:4 Con1:8; Rot.8:8 Col1:2; "
    "Col.8:8 Sol.8:7; Sha.4:7 Inv.6; ShX.6:5 Eq1; Col.4:0 Eq.6; Eq.4 Sol.2:4; Sol.6:5 AC.6; Inv.6 Eq1; Col.6:4 Con1:8; "
    "Eq.8 Eq.6",
    "Inv.1 Con.2:6; Rot.7:2 TrX.3:9; Sha.8:1 Sha.9:3; ShY.5:8 TrY.7:9; AC.5 Eq.9; ShY.2:7 Pos.3:7; Col.4:3 Bri.6:7; "
    "Sha.3:9 Bri.7:9; Eq.6 Eq.5; Con.6:7 Sha.6:5; Col.7:7 TrX.5:8; Eq.3 AC.4; TrY.4:3 Sha.2:6; Bri.9:6 Col.2:8; "
    "Sol.5:2 Inv0; Eq.2 AC.6; Eq.2 Eq.6; Col.9:9 Eq.6; AC.8 Sol.2:8; Bri.1:3 Col.7:0; Sol.4:5 AC.9; TrY.9:9 TrY.7:9; "
    "AC.9 Sol.8:3; Eq.8 Inv.1; TrY.7:9 AC.9",
    "ShX.9:4 Inv.2; ShY.9:8 Inv.7; Eq.6 Sol.6:6; Inv.9 Eq.6; Eq.6 Rot.9:3; ShX.9:4 AC.8; ShY.9:8 Inv.4; ShY.9:5 Sol.2:6; "
    "Inv.9 AC.8; Eq.6 Rot.9:3; ShX.9:4 Sol.3:3; ShY.8:8 Inv.7; Eq.9 TrY.6:6; Inv.9 Eq.6; Con.3:3 Rot.8:4; Inv.8 TrY0:2; "
    "ShY.7:6 Sol.4:8; Inv.6 Rot.8:4; ShY.3:7 TrX.9:3; ShX.1:6 Inv.6; Sol.7:2 TrY.6:7; ShY.8:4 Inv.8; ShX.7:9 TrY.8:3; "
    "ShY.8:5 AC.7; ShX.7:2 Inv.1"};

constexpr std::array<std::pair<std::string_view, PolicyOp>, 14> kNames = {{
    {"ShX", PolicyOp::shear_x}, {"ShY", PolicyOp::shear_y}, {"TrX", PolicyOp::translate_x},
    {"TrY", PolicyOp::translate_y}, {"Rot", PolicyOp::rotate}, {"Bri", PolicyOp::brightness}, {"Col", PolicyOp::color},
    {"Con", PolicyOp::contrast}, {"Sha", PolicyOp::sharpness}, {"Pos", PolicyOp::posterize},
    {"Sol", PolicyOp::solarize}, {"AC", PolicyOp::auto_contrast}, {"Eq", PolicyOp::equalize}, {"Inv", PolicyOp::invert}}};

std::vector<std::array<SubPolicy, 2>> read_table(std::string_view text) {
  std::vector<std::array<SubPolicy, 2>> out;
  size_t at = 0, filled = 0;
  while (at < text.size()) {
    if (text[at] == ' ' || text[at] == ';') {
      ++at;
      continue;
    }
    SubPolicy sub{PolicyOp::identity, 0, 0};
    for (const auto& [name, op] : kNames) {
      if (text.substr(at, name.size()) == name) {
        sub.op = op;
        at += name.size();
        break;
      }
    }
    const size_t end = std::min(text.size(), text.find_first_of(" ;:", at));
    sub.p = std::strtod(std::string(text.substr(at, end - at)).c_str(), nullptr);
    at = end;
    if (at < text.size() && text[at] == ':') {
      sub.magnitude = text[at + 1] - '0';
      at += 2;
    }
    if (filled == 0) out.emplace_back();
    out.back()[filled] = sub;
    filled = 1 - filled;
  }
  return out;
}

}  // namespace

std::span<const std::array<SubPolicy, 2>> auto_augment_policy(int which) {
  static const std::array<std::vector<std::array<SubPolicy, 2>>, 3> tables = {read_table(kTables[0]), read_table(kTables[1]),
                                                                             read_table(kTables[2])};
  return tables[static_cast<size_t>(which)];
}

void draw_auto_augment(const Step& s, Key key, Planner& plan) {
  const PolicySpace space = {10, 0.3, 30, 0.9, 150.0 / 331, false, 8, 4};
  const auto policy = auto_augment_policy(s.whole(0));
  const auto& pair = policy[slot_below(key, 1, policy.size())];
  for (uint32_t k = 0; k < 2; ++k) {
    const SubPolicy& sub = pair[k];
    if (!slot_bernoulli(key, 2 + 2 * k, sub.p)) continue;
    const bool negative = slot_bernoulli(key, 3 + 2 * k, 0.5);
    apply_policy_op(plan, sub.op, policy_value(space, sub.op, sub.magnitude, negative, plan.h(), plan.w()), kPolicyResampling);
  }
}

}  // namespace ballast::detail

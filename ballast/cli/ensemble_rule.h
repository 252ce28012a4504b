#pragma once

#include <optional>
#include <string>
#include <vector>

#include <ballast/ensemble/cascade.h>
#include <ballast/ensemble/select.h>
#include <ballast/train/ensemble_file.h>

#include "ensemble_input.h"

namespace ballast::cli {

/// Which rows the rule has read.
RoleLedger ledger_of(const EnsembleRule& rule, const EnsembleInput& input);

struct RuleFlags {
  std::string rule = "mean_probability";
  std::string weights = "uniform";
  bool member_temperature = false;
};
template <class Visitor>
void describe(Visitor& visit, RuleFlags& o) {
  visit("rule", o.rule,
        {.help = "how scores become one",
         .flags = "--rule",
         .choices = "mean_probability mean_logit geometric median trimmed_mean hard_vote borda "
                    "instant_runoff"});
  visit("weights", o.weights,
        {.help = "uniform; fit (maximum likelihood), greedy (Caruana's selection) or stack "
                 "(regression) on role select; or "
                 "numbers: .5,.3,.2",
         .flags = "--weights",
         .value_name = "W"});
  visit("member_temperature", o.member_temperature,
        {.help = "calibrate each member before it is combined, on role calib",
         .flags = "--member-temperature"});
}

/// Which roles the flags need.
Needs needs_of(const RuleFlags& flags);
/// Fits what the flags ask for on the rows of role select (and calib for member temperatures).
EnsembleRule make_rule(const EnsembleInput& input, const RuleFlags& flags,
                       const MemberFlags& members);
/// The members of these rows as one, before the temperature.
Combined apply_rule(const EnsembleRule& rule, const RoleTable& rows, int threads);
/// In ensemble.json, by the members' numbers.
JsonValue rule_json(const EnsembleRule& rule, const EnsembleInput& input);
/// Errors   DataError if the file's members are not those of `input`.
EnsembleRule rule_from_json(const JsonValue& json, const EnsembleInput& input);

}  // namespace ballast::cli

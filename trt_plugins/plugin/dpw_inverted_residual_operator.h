// DPWInvertedResidual: inputs X [N, Cin, H, W], W [N, K, Nh, Nw], B1 and B2 [hidden_channels], B3 [out_channels];
// output Y [N, out_channels, H, W].
// DPWInvertedResidualLevel has S [N, Cs, H, W] and P [N, Cp, H / 2, W / 2] in place of X, and
// Cin = 2 * positions + Cs + Cp.
#pragma once

#include "operator.h"

namespace hyperseg {

OperatorKind dpwInvertedResidualKind();
OperatorKind dpwInvertedResidualLevelKind();

}  // namespace hyperseg

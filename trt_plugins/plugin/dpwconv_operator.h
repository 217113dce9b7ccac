// DPWConv: inputs X [N, Cin, H, W], W [N, K, Nh, Nw], B [out_channels]; output Y [N, out_channels, H, W].
// DPWConvLevel has S [N, Cs, H, W] and P [N, Cp, H / 2, W / 2] in place of X, and Cin = 2 * positions + Cs + Cp.
#pragma once

#include "operator.h"

namespace hyperseg {

OperatorKind dpwConvKind();
OperatorKind dpwConvLevelKind();

}  // namespace hyperseg

// DPWInvertedResidual: inputs X [N, Cin, H, W], W [N, K, Nh, Nw], B1 and B2 [hidden_channels], B3 [out_channels];
// output Y [N, out_channels, H, W].
#pragma once

#include "operator.h"

namespace hyperseg {

OperatorKind dpwInvertedResidualKind();

}  // namespace hyperseg

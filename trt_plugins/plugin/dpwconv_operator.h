// DPWConv: inputs X [N, Cin, H, W], W [N, K, Nh, Nw], B [out_channels]; output Y [N, out_channels, H, W].
#pragma once

#include "operator.h"

namespace hyperseg {

OperatorKind dpwConvKind();

}  // namespace hyperseg

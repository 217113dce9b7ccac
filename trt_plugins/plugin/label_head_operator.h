// LabelHead: input X [N, C, h, w], logits; output Y [N, h * scale, w * scale], labels of X's type.
#pragma once

#include "operator.h"

namespace hyperseg {

OperatorKind labelHeadKind();

}  // namespace hyperseg

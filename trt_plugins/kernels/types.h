// What the operators' parameters have in common: element type, padding and activation.
#pragma once

namespace hyperseg {

// Element type of all tensors of a launch. FP16 is the type in memory; sums are kept in float.
enum class Type { kFloat32, kFloat16 };

// What lies beyond the border of the map: its mirror image without the edge itself, or zeros.
enum class PadMode { kReflect, kConstant };

enum class Activation { kNone, kRelu, kRelu6 };

}  // namespace hyperseg

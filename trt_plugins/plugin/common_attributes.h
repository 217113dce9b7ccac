// The attributes that the patch-wise operators share, with their ranges.
#pragma once

#include <limits>

#include "../kernels/types.h"
#include "attributes.h"

namespace hyperseg {

// Limits far beyond any network, within which no product of sizes overflows 64 bits.
constexpr int32_t kMostChannels = 65536;
constexpr int32_t kLargestKernel = 255;

inline AttributeSpec channelsSpec(char const* name) { return {name, 1, 1, kMostChannels}; }
inline AttributeSpec kernelShapeSpec() { return {"kernel_shape", 2, 1, kLargestKernel}; }
inline AttributeSpec weightOffsetSpec() { return {"weight_offset", 1, 0, std::numeric_limits<int32_t>::max(), {}, 0}; }
// Whether a level's map begins with its coordinates.
inline AttributeSpec positionsSpec() { return {"positions", 1, 0, 1}; }

// In the order of PadMode and Activation: the index of a text is the value of the enum.
inline AttributeSpec padModeSpec() { return {"pad_mode", 1, 0, 0, {"reflect", "constant"}}; }
inline AttributeSpec activationSpec() { return {"activation", 1, 0, 0, {"none", "relu", "relu6"}}; }
static_assert(static_cast<int>(PadMode::kReflect) == 0 && static_cast<int>(PadMode::kConstant) == 1);
static_assert(static_cast<int>(Activation::kNone) == 0 && static_cast<int>(Activation::kRelu) == 1 &&
              static_cast<int>(Activation::kRelu6) == 2);

// A patch has as much halo on either side.
inline Problem checkOdd(AttributeValue const& kernelShape) {
    if (kernelShape[0] % 2 == 0 || kernelShape[1] % 2 == 0) {
        return "'kernel_shape' is " + std::to_string(kernelShape[0]) + "x" + std::to_string(kernelShape[1]) +
               "; both must be odd";
    }
    return {};
}

}  // namespace hyperseg

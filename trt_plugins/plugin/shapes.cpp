#include "shapes.h"

#include <limits>

namespace hyperseg {

namespace {

std::string textOf(Shape const& shape) {
    std::string text = "[";
    for (int32_t i = 0; i < shape.rank && i < static_cast<int32_t>(shape.dims.size()); ++i) {
        text += (i ? ", " : "") + (shape.dims[i] == kUnknown ? std::string("?") : std::to_string(shape.dims[i]));
    }
    return text + "]";
}

bool isKnown(int64_t a, int64_t b) { return a != kUnknown && b != kUnknown; }

}  // namespace

// The kernels count pixels and channels of one tensor in 32 bits, and have nothing to do for an empty one.
Problem checkDimensions(char const* name, Shape const& shape, int32_t rank) {
    if (shape.rank != rank) {
        return std::string(name) + " has " + std::to_string(shape.rank) + " dimensions instead of " +
               std::to_string(rank);
    }
    for (int32_t i = 0; i < rank; ++i) {
        int64_t const size = shape.dims[i];
        if (size != kUnknown && (size < 1 || size > std::numeric_limits<int32_t>::max())) {
            return std::string(name) + " " + textOf(shape) + " has a dimension that is empty or too large";
        }
    }
    return {};
}

Problem checkPrevious(Shape const& skip, Shape const& previous) {
    if (Problem problem = checkDimensions("S", skip, 4)) {
        return problem;
    }
    if (Problem problem = checkDimensions("P", previous, 4)) {
        return problem;
    }
    if (isKnown(skip.dims[0], previous.dims[0]) && skip.dims[0] != previous.dims[0]) {
        return "S " + textOf(skip) + " and P " + textOf(previous) + " differ in their batch";
    }
    for (int32_t axis : {2, 3}) {
        if (isKnown(skip.dims[axis], previous.dims[axis]) && skip.dims[axis] != 2 * previous.dims[axis]) {
            return "S " + textOf(skip) + " is not twice as high and wide as P " + textOf(previous);
        }
    }
    return {};
}

Problem checkPatches(Shape const& x, Shape const& weight, PatchRule const& rule) {
    if (Problem problem = checkDimensions("X", x, 4)) {
        return problem;
    }
    if (Problem problem = checkDimensions("W", weight, 4)) {
        return problem;
    }
    if (isKnown(x.dims[0], weight.dims[0]) && x.dims[0] != weight.dims[0]) {
        return "X " + textOf(x) + " and W " + textOf(weight) + " differ in their batch";
    }
    for (int32_t axis : {2, 3}) {
        if (isKnown(x.dims[axis], weight.dims[axis]) && x.dims[axis] % weight.dims[axis]) {
            return "X " + textOf(x) + " cannot be cut into equal patches by the grid of W " + textOf(weight);
        }
        int32_t const halo = rule.kernel[axis - 2] / 2;
        if (rule.padMode == PadMode::kReflect && x.dims[axis] != kUnknown && halo >= x.dims[axis]) {
            return "X " + textOf(x) + " is too small to be mirrored by " + std::to_string(halo) + " pixels";
        }
    }
    if (isKnown(weight.dims[1], rule.weightSize) && weight.dims[1] < rule.weightOffset + rule.weightSize) {
        return "W " + textOf(weight) + " holds fewer than weight_offset " + std::to_string(rule.weightOffset) + " + " +
               std::to_string(rule.weightSize) + " weights per patch";
    }
    return {};
}

Problem checkBias(char const* name, Shape const& bias, int64_t length) {
    if (Problem problem = checkDimensions(name, bias, 1)) {
        return problem;
    }
    if (bias.dims[0] != kUnknown && bias.dims[0] != length) {
        return std::string(name) + " " + textOf(bias) + " should be [" + std::to_string(length) + "]";
    }
    return {};
}

}  // namespace hyperseg

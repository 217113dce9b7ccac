// Shapes of tensors, and the rules that operators put on them. A dimension that is not known yet breaks no rule.
#pragma once

#include <array>
#include <cstdint>

#include "../kernels/types.h"
#include "attributes.h"

namespace hyperseg {

constexpr int64_t kUnknown = -1;

struct Shape {
    int32_t rank = 0;
    std::array<int64_t, 8> dims{};
};

// Whether the tensor has so many dimensions, none of them empty or beyond 32 bits.
Problem checkDimensions(char const* name, Shape const& shape, int32_t rank);

// Whether a level can read the skip map S [N, Cs, H, W] and the previous level P [N, Cp, H / 2, W / 2] together.
Problem checkPrevious(Shape const& skip, Shape const& previous);

// What an operator says about its map X [N, Cin, H, W] and its weights W [N, K, Nh, Nw].
struct PatchRule {
    std::array<int32_t, 2> kernel;  // kh, kw
    PadMode padMode;
    int64_t weightOffset;
    int64_t weightSize;  // values that a patch reads from weightOffset on, or kUnknown
};

Problem checkPatches(Shape const& x, Shape const& weight, PatchRule const& rule);

// Whether the tensor has the one dimension [length].
Problem checkBias(char const* name, Shape const& bias, int64_t length);

}  // namespace hyperseg

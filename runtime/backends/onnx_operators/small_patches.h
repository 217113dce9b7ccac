// Pointwise convolution of patches of a few pixels: a vector holds the same pixel of neighbouring patches.
//
// Their weights lie side by side in W, so they are used where they are. With the pixels of one patch in a vector, W
// would have to be transposed, which takes longer than the arithmetic on so few pixels.
#pragma once

#include "patches.h"

namespace hyperseg {

struct SmallPatches {
    Patches const& patches;
    float const* bias;
    ptrdiff_t weightOffset, out;
    float low, high;

    static bool serves(Patches const& patches) { return patches.height * patches.width <= kRun; }

    // Computes a run of patches of Y [batch, out, H, W].
    void convolve(Run const& run, float* y) const;
};

}  // namespace hyperseg

// The map that an operator reads: a plain tensor, or a level's input that is never stored.
#pragma once

#include <cstdint>

namespace hyperseg {

// [batch, channels, height, width], whose channels are `positions` pairs of coordinates (x, then y, from -1 to 1), the
// skip map's, and those of the previous level's output, enlarged twice, bilinear, with half-pixel centres. What is
// computed is rounded to the tensors' type, as a stored map would be.
struct Map {
    void const* skip;      // [batch, skipChannels, height, width]; at least one channel
    void const* previous;  // [batch, previousChannels, height / 2, width / 2]; nullptr and no channels for none
    int32_t skipChannels, previousChannels;
    int32_t positions;  // 1: two channels of coordinates come first; 0: none

    int64_t channels() const { return 2 * int64_t{positions} + skipChannels + previousChannels; }
    bool stored() const { return !previous && !positions; }
};

}  // namespace hyperseg

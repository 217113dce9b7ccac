// The map that an operator reads: a plain tensor, or a level's input that is never stored.
#pragma once

#include <cstddef>

namespace hyperseg {

// [batch, channels, height, width], whose channels are `positions` pairs of coordinates (x, then y, from -1 to 1), the
// skip map's, and those of the previous level's output, enlarged twice, bilinear, with half-pixel centres.
struct Map {
    float const* skip;      // [batch, skipChannels, height, width]
    float const* previous;  // [batch, previousChannels, height / 2, width / 2]
    float const* columns;   // the width's coordinates, [width], if there are positions
    ptrdiff_t skipChannels, previousChannels, positions, height, width;

    ptrdiff_t channels() const { return 2 * positions + skipChannels + previousChannels; }
};

// A part of the map, which may reach beyond its borders.
struct Window {
    ptrdiff_t top, left, height, width;
};

enum class PadMode { reflect, constant };

// As torch.linspace(-1, 1, size), which counts from the nearer end.
inline float coordinate(ptrdiff_t index, ptrdiff_t size) {
    if (size == 1) return -1;
    float const step = 2.0f / static_cast<float>(size - 1);
    return index < size / 2 ? -1 + static_cast<float>(index) * step : 1 - static_cast<float>(size - 1 - index) * step;
}

// Writes the window of all channels of one sample: rows without gaps, channels `stride` floats apart. Beyond the
// border is the mirrored pixel, or 0 in every channel. Reflect needs a window that holds what it mirrors. Up to kLanes
// floats behind the last row are overwritten.
void readWindow(Map const& map, ptrdiff_t sample, Window const& window, PadMode mode, float* x, ptrdiff_t stride);

// Pixels first ... last - 1 of a row that is twice as wide as its source row of `width` pixels, which stands between
// two rows: (1 - below) of `upper` and `below` of `lower`. As PyTorch's interpolate does, it multiplies by zero too.
// Up to kLanes floats behind the last pixel are overwritten.
void enlargeTwice(float const* upper, float const* lower, float below, ptrdiff_t width, ptrdiff_t first, ptrdiff_t last,
                  float* to);

// Where an enlarged row or column lies in its source of `size` pixels: between `first` and `second`, by `weight`.
struct Taps {
    ptrdiff_t first, second;
    float weight;  // of the second
};

inline Taps tapsOf(ptrdiff_t index, ptrdiff_t scale, ptrdiff_t size) {
    float const centre = (static_cast<float>(index) + 0.5f) / static_cast<float>(scale) - 0.5f;
    float const source = centre > 0 ? centre : 0;
    auto const first = static_cast<ptrdiff_t>(source);
    return {first, first + 1 < size ? first + 1 : first, source - static_cast<float>(first)};
}

}  // namespace hyperseg

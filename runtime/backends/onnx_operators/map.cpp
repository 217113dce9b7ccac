#include "map.h"

#include <algorithm>

#include "rows.h"

namespace hyperseg {
namespace {

ptrdiff_t mirrored(ptrdiff_t index, ptrdiff_t size) {
    return index < 0 ? -index : index < size ? index : 2 * (size - 1) - index;
}

// One channel of the window. `fill(y, first, last, to)` writes pixels first ... last - 1 of the map's row y.
template <class Fill>
void readChannel(Map const& map, Window const& window, PadMode mode, float* x, Fill const& fill) {
    ptrdiff_t const right = window.left + window.width;
    ptrdiff_t const first = std::max<ptrdiff_t>(window.left, 0), last = std::min(right, map.width);
    for (ptrdiff_t row = 0; row < window.height; ++row) {
        ptrdiff_t const y = window.top + row;
        float* const to = x + row * window.width - window.left;  // so that to[column of the map]
        bool const inside = y >= 0 && y < map.height;
        if (!inside && mode == PadMode::constant) {
            std::fill(to + window.left, to + right, 0.0f);
            continue;
        }
        fill(mirrored(y, map.height), first, last, to + first);
        for (ptrdiff_t column = window.left; column < first; ++column)
            to[column] = mode == PadMode::reflect ? to[mirrored(column, map.width)] : 0;
        for (ptrdiff_t column = last; column < right; ++column)
            to[column] = mode == PadMode::reflect ? to[mirrored(column, map.width)] : 0;
    }
}

}  // namespace

// Rows of a window are short and far apart: a CPU does not see what will be read next. So what the next window in the
// row will need is asked for.
void readWindow(Map const& map, ptrdiff_t sample, Window const& window, PadMode mode, float* x, ptrdiff_t stride) {
    if (map.positions) {
        readChannel(map, window, mode, x, [&](ptrdiff_t, ptrdiff_t first, ptrdiff_t last, float* to) {
            copyRow(to, map.columns + first, last - first);
        });
        readChannel(map, window, mode, x + stride, [&](ptrdiff_t y, ptrdiff_t first, ptrdiff_t last, float* to) {
            std::fill(to, to + (last - first), coordinate(y, map.height));
        });
        x += 2 * stride;
    }
    for (ptrdiff_t channel = 0; channel < map.skipChannels; ++channel, x += stride) {
        float const* skip = map.skip + (sample * map.skipChannels + channel) * map.height * map.width;
        readChannel(map, window, mode, x, [&](ptrdiff_t y, ptrdiff_t first, ptrdiff_t last, float* to) {
            __builtin_prefetch(skip + y * map.width + last + window.width);
            copyRow(to, skip + y * map.width + first, last - first);
        });
    }
    ptrdiff_t const height = map.height / 2, width = map.width / 2;
    for (ptrdiff_t channel = 0; channel < map.previousChannels; ++channel, x += stride) {
        float const* previous = map.previous + (sample * map.previousChannels + channel) * height * width;
        readChannel(map, window, mode, x, [&](ptrdiff_t y, ptrdiff_t first, ptrdiff_t last, float* to) {
            Taps const row = tapsOf(y, 2, height);
            __builtin_prefetch(previous + row.second * width + (last + window.width) / 2);
            enlargeTwice(previous + row.first * width, previous + row.second * width, row.weight, width, first, last,
                         to);
        });
    }
}

namespace {

// Pixels 2 i - 1 and 2 i stand between source pixels i - 1 and i, a quarter of the way from the nearer one. A vector of
// pixels from an even column 2 i on comes from source pixels i - 1, i, ...; one from an odd column 2 i + 1, from i, ...
template <bool Odd>
void enlargeTwiceFrom(float const* upper, float const* lower, float below, ptrdiff_t width, ptrdiff_t first,
                      ptrdiff_t last, float* to) {
    Lanes nearer = {}, farther = {};
    for (int lane = 0; lane < kLanes; ++lane) {
        nearer[lane] = (lane + 2 - Odd) / 2;
        farther[lane] = nearer[lane] + ((lane + Odd) % 2 ? 1 : -1);
    }
    float const above = 1 - below;
    for (ptrdiff_t column = first; column < last; column += kLanes) {
        ptrdiff_t const source = (column + 1) / 2 - 1;
        Floats mixed;
        if (source >= 0 && source + kLanes <= width) {
            mixed = above * load(upper + source) + below * load(lower + source);
        } else {
            for (int lane = 0; lane < kLanes; ++lane) {
                ptrdiff_t const pixel = std::clamp<ptrdiff_t>(source + lane, 0, width - 1);
                mixed[lane] = above * upper[pixel] + below * lower[pixel];
            }
        }
        store(to + column - first, 0.75f * shuffle(mixed, nearer) + 0.25f * shuffle(mixed, farther));
    }
    // The outermost pixels are on a source pixel, and take none of the other tap.
    auto const outermost = [&](ptrdiff_t column) {
        Taps const taps = tapsOf(column, 2, width);
        auto const mixed = [&](ptrdiff_t pixel) { return above * upper[pixel] + below * lower[pixel]; };
        to[column - first] = (1 - taps.weight) * mixed(taps.first) + taps.weight * mixed(taps.second);
    };
    if (first == 0) outermost(0);
    if (last == 2 * width) outermost(last - 1);
}

}  // namespace

void enlargeTwice(float const* upper, float const* lower, float below, ptrdiff_t width, ptrdiff_t first, ptrdiff_t last,
                  float* to) {
    (first % 2 ? enlargeTwiceFrom<true> : enlargeTwiceFrom<false>)(upper, lower, below, width, first, last, to);
}

}  // namespace hyperseg

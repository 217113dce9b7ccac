// Reads a Map on the device; whatever of it is not stored is computed here, and rounded to the map's type.
#pragma once

#include "device.cuh"
#include "map.h"

namespace hyperseg {

template <typename T>
__device__ inline float rounded(float value) {
    return toFloat(fromFloat<T>(value));
}

// Element i of torch.linspace(-1, 1, size), which is symmetric.
__device__ inline float coordinate(int i, int size) {
    if (size == 1) return -1.f;
    float const step = 2.f / static_cast<float>(size - 1);
    return i < size / 2 ? -1.f + step * static_cast<float>(i) : 1.f - step * static_cast<float>(size - 1 - i);
}

// With half-pixel centres, value i of a line enlarged twice lies a quarter from its nearer cell, i / 2, towards this
// one; at the ends that cell again.
__device__ inline int fartherCell(int i, int cells) { return min(max(i / 2 + i % 2 * 2 - 1, 0), cells - 1); }

__device__ inline float betweenCells(float nearer, float farther) { return 0.75f * nearer + 0.25f * farther; }

// A pixel of the map that a plane [height / 2, width / 2] becomes when it is enlarged twice.
template <typename T>
__device__ inline float enlarged(T const* plane, Pixel pixel, int height, int width) {
    int const farRow = fartherCell(pixel.row, height / 2), farColumn = fartherCell(pixel.column, width / 2);
    T const* near = plane + int64_t{pixel.row / 2} * (width / 2);
    T const* far = plane + int64_t{farRow} * (width / 2);
    return rounded<T>(betweenCells(betweenCells(toFloat(near[pixel.column / 2]), toFloat(near[farColumn])),
                                   betweenCells(toFloat(far[pixel.column / 2]), toFloat(far[farColumn]))));
}

// The ROWS x COLS pixels from `first` on, its row and column even, of such a map: every cell is read once.
template <int ROWS, int COLS, typename T>
__device__ inline void enlargePatch(float (&to)[ROWS * COLS], T const* plane, Pixel first, int height, int width) {
    float cell[ROWS / 2 + 2][COLS / 2 + 2];
#pragma unroll
    for (int r = 0; r < ROWS / 2 + 2; ++r) {
        T const* line = plane + int64_t{min(max(first.row / 2 + r - 1, 0), height / 2 - 1)} * (width / 2);
#pragma unroll
        for (int c = 0; c < COLS / 2 + 2; ++c)
            cell[r][c] = toFloat(line[min(max(first.column / 2 + c - 1, 0), width / 2 - 1)]);
    }
#pragma unroll
    for (int i = 0; i < ROWS * COLS; ++i) {
        int const row = i / COLS / 2 + 1, column = i % COLS / 2 + 1;  // of the nearer cell
        int const farRow = row + i / COLS % 2 * 2 - 1, farColumn = column + i % COLS % 2 * 2 - 1;
        to[i] = rounded<T>(betweenCells(betweenCells(cell[row][column], cell[row][farColumn]),
                                        betweenCells(cell[farRow][column], cell[farRow][farColumn])));
    }
}

// A sample of a map; without LEVEL the map is stored, which takes fewer registers.
template <typename T, bool LEVEL>
struct Sample {
    T const *skip, *previous;
    int firstSkip, firstPrevious, height, width;  // channels, pixels

    __device__ Sample(Map const& map, int64_t n, int height, int width)
        : skip(static_cast<T const*>(map.skip) + n * map.skipChannels * height * width),
          previous(static_cast<T const*>(map.previous) + n * map.previousChannels * (height / 2) * (width / 2)),
          firstSkip(2 * map.positions),
          firstPrevious(firstSkip + map.skipChannels),
          height(height),
          width(width) {}

    // Calls use(c, value) for the channels first <= c < last of a pixel. A previous map costs four reads a value: for
    // the kernels that need not be fast on levels.
    template <int UNROLL, typename Use>
    __device__ void forEachChannel(Pixel pixel, int first, int last, Use const& use) const {
        int64_t const plane = int64_t{height} * width, offset = int64_t{pixel.row} * width + pixel.column;
        if constexpr (!LEVEL) {
#pragma unroll UNROLL
            for (int c = first; c < last; ++c) use(c, toFloat(skip[c * plane + offset]));
        } else {
            for (int c = first; c < min(last, firstSkip); ++c)
                use(c, rounded<T>(c == 0 ? coordinate(pixel.column, width) : coordinate(pixel.row, height)));
#pragma unroll 2
            for (int c = max(first, firstSkip); c < min(last, firstPrevious); ++c)
                use(c, toFloat(skip[(c - firstSkip) * plane + offset]));
#pragma unroll 1
            for (int c = max(first, firstPrevious); c < last; ++c)
                use(c, enlarged(previous + (c - firstPrevious) * (plane / 4), pixel, height, width));
        }
    }
};

}  // namespace hyperseg

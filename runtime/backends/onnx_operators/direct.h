// A convolution of a window with few multiplications a pixel: groups, and above all depthwise.
#pragma once

#include "gemm.h"

namespace hyperseg {

// Weights are [out, in, height, width], out = groups * outOfGroup; each group reads its own `in` channels.
struct DirectConv {
    float const* weight;
    float const* bias;
    ptrdiff_t out, outOfGroup, in, height, width;  // height and width of the kernel
    float low, high;
};

// x is [groups * in, rows + height - 1, columns + width - 1], y [out, rows, columns], both without gaps between rows
// and channels a stride apart. Up to kLanes floats behind x are read, and behind y written: lanes beyond the end of a
// row are overwritten by the next row, and those of the last row by the next channel.
inline void convolveAny(DirectConv const& conv, float const* x, ptrdiff_t xStride, float* y, ptrdiff_t yStride,
                        ptrdiff_t rows, ptrdiff_t columns) {
    ptrdiff_t const windowWidth = columns + conv.width - 1;
    for (ptrdiff_t o = 0; o < conv.out; ++o) {
        float const* group = x + o / conv.outOfGroup * conv.in * xStride;
        for (ptrdiff_t row = 0; row < rows; ++row) {
            for (ptrdiff_t column = 0; column < columns; column += kLanes) {
                Floats sum = Floats{} + conv.bias[o];
                float const* weight = conv.weight + o * conv.in * conv.height * conv.width;
                for (ptrdiff_t i = 0; i < conv.in; ++i)
                    for (ptrdiff_t ky = 0; ky < conv.height; ++ky)
                        for (ptrdiff_t kx = 0; kx < conv.width; ++kx)
                            sum += *weight++ * load(group + i * xStride + (row + ky) * windowWidth + column + kx);
                store(y + o * yStride + row * columns + column, clamp(sum, conv.low, conv.high));
            }
        }
    }
}

// The same for the kernel that all published networks have, 3x3 depthwise: each row of x is loaded once, for the three
// rows of y that it belongs to.
inline void convolveDepthwise3x3(DirectConv const& conv, float const* x, ptrdiff_t xStride, float* y, ptrdiff_t yStride,
                                 ptrdiff_t rows, ptrdiff_t columns) {
    for (ptrdiff_t o = 0; o < conv.out; ++o) {
        Floats w[9];
        for (int tap = 0; tap < 9; ++tap) w[tap] = Floats{} + conv.weight[o * 9 + tap];
        // From the right to the left, because the rightmost vectors reach into the next row's first pixels.
        for (ptrdiff_t column = roundUp(columns, kLanes) - kLanes; column >= 0; column -= kLanes) {
            Floats below = {}, beside = {};  // of the rows of y below and beside the one that is complete
            for (ptrdiff_t row = -2; row < rows; ++row) {
                float const* from = x + o * xStride + (row + 2) * (columns + 2) + column;
                Floats const left = load(from), centre = load(from + 1), right = load(from + 2);
                Floats const sum = beside + w[6] * left + w[7] * centre + w[8] * right;
                beside = below + w[3] * left + w[4] * centre + w[5] * right;
                below = conv.bias[o] + w[0] * left + w[1] * centre + w[2] * right;
                if (row >= 0) store(y + o * yStride + row * columns + column, clamp(sum, conv.low, conv.high));
            }
        }
    }
}

inline void convolve(DirectConv const& conv, float const* x, ptrdiff_t xStride, float* y, ptrdiff_t yStride,
                     ptrdiff_t rows, ptrdiff_t columns) {
    bool const depthwise3x3 = conv.in == 1 && conv.outOfGroup == 1 && conv.height == 3 && conv.width == 3;
    (depthwise3x3 ? convolveDepthwise3x3 : convolveAny)(conv, x, xStride, y, yStride, rows, columns);
}

}  // namespace hyperseg

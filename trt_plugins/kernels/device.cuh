// What the kernels share on the device: element conversion, activation, the map's border, shared memory.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "types.h"

// The block's dynamic shared memory, aligned to 16 bytes; the CPU proof (../cpu) brings its own definition.
#ifndef HYPERSEG_ON_CPU
#define HYPERSEG_SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace hyperseg {

constexpr int kWarpSize = 32;

__device__ inline float toFloat(float value) { return value; }
__device__ inline float toFloat(__half value) { return __half2float(value); }

template <typename T>
__device__ inline T fromFloat(float value);
template <>
__device__ inline float fromFloat<float>(float value) {
    return value;
}
template <>
__device__ inline __half fromFloat<__half>(float value) {
    return __float2half(value);
}

// Comparisons rather than fmaxf and fminf, which would turn a NaN into a number.
__device__ inline float activate(float value, Activation activation) {
    if (activation == Activation::kNone) return value;
    if (value < 0.f) return 0.f;
    return activation == Activation::kRelu6 && value > 6.f ? 6.f : value;
}

// A pixel of a map [height, width].
struct Pixel {
    int row, column;  // no row (-1): one of the zeros around the map
};

// The pixel itself; beyond the border its mirror image (the edge is not repeated), or one of the padded zeros. With
// kReflect the pixel lies less than a map's size outside.
__device__ inline Pixel pixelAt(int row, int column, int height, int width, PadMode padMode) {
    bool const inside = row >= 0 && row < height && column >= 0 && column < width;
    if (!inside) {
        if (padMode == PadMode::kConstant) return {-1, -1};
        row = row < 0 ? -row : row >= height ? 2 * height - 2 - row : row;
        column = column < 0 ? -column : column >= width ? 2 * width - 2 - column : column;
    }
    return {row, column};
}

// Offset of pixelAt in its plane, or -1.
__device__ inline int64_t pixelOffset(int row, int column, int height, int width, PadMode padMode) {
    Pixel const pixel = pixelAt(row, column, height, width, padMode);
    return pixel.row < 0 ? -1 : static_cast<int64_t>(pixel.row) * width + pixel.column;
}

}  // namespace hyperseg

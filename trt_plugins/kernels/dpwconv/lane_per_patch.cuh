// DPWConv 1x1 for patches of few pixels (coarse levels): all weights and hardly any pixels.
//
// Patches lie side by side in memory, weight[n, k, :, :], so a warp takes 32 neighbouring patches, one a lane: every
// weight is read from memory once, and a warp's read is one contiguous piece. The sum over the input channels is
// dealt out to the warps of the block, which gives enough reads in flight for maps of a few hundred patches.
//
// Who owns what: a block owns 32 patches (in x) and kOutputs output channels (in y); warp `slice` sums the input
// channels slice, slice + kSlices, ... of all ROWS x COLS pixels; then all threads add up the slices and write.
#pragma once

#include "../map.cuh"
#include "dpwconv.h"

namespace hyperseg::lane_per_patch {

constexpr int kSlices = 8;
constexpr int kOutputs = 2;
constexpr int kThreads = kSlices * kWarpSize;

// One row of a patch, read at once: a patch's first column is a multiple of COLS.
template <typename T, int COLS>
struct alignas(sizeof(T) * COLS) PixelRow {
    T pixels[COLS];
};

constexpr int sharedBytes(int pixels) { return kThreads * kOutputs * pixels * static_cast<int>(sizeof(float)); }

// x [N, Cin, Nh * ROWS, Nw * COLS], a Map, its skip map 16-byte aligned; weight [N, K, Nh * Nw]; y [N, Cout, Nh * ROWS,
// Nw * COLS].
template <typename T, int ROWS, int COLS, bool LEVEL = false>
__global__ void __launch_bounds__(kThreads) dpwconvLanePerPatch(DpwConvParams const p) {
    constexpr int kPixels = ROWS * COLS;
    constexpr int kSums = kOutputs * kPixels;  // of a patch
    HYPERSEG_SHARED_MEMORY(sharedMemory);
    float* partial = reinterpret_cast<float*>(sharedMemory);  // [kSlices, kSums, 32]

    int const lane = threadIdx.x % kWarpSize, slice = threadIdx.x / kWarpSize;
    int const patches = p.gridHeight * p.gridWidth;
    int64_t const plane = int64_t{p.height} * p.width;
    int const index = static_cast<int>(blockIdx.x) * kWarpSize + lane;  // of the patch, over all samples
    bool const active = index < p.batch * patches;
    int const n = active ? index / patches : 0, patch = active ? index % patches : 0;
    Pixel const first = {patch / p.gridWidth * ROWS, patch % p.gridWidth * COLS};
    int64_t const origin = int64_t{first.row} * p.width + first.column;
    int const firstOutput = blockIdx.y * kOutputs;

    if (active) {
        T const* skip = static_cast<T const*>(p.x.skip) + int64_t{n} * p.x.skipChannels * plane + origin;
        T const* weight[kOutputs];
        float sum[kOutputs][kPixels] = {};
#pragma unroll
        for (int r = 0; r < kOutputs; ++r) {
            int const o = min(firstOutput + r, p.outChannels - 1);  // the last block may own fewer; not written below
            weight[r] = static_cast<T const*>(p.weight) + patch +
                        (int64_t{n} * p.weightChannels + p.weightOffset + int64_t{o} * p.inChannels) * patches;
        }
        auto const add = [&](int c, float const(&value)[kPixels]) {
#pragma unroll
            for (int r = 0; r < kOutputs; ++r) {
                float const w = toFloat(weight[r][int64_t{c} * patches]);
#pragma unroll
                for (int i = 0; i < kPixels; ++i) sum[r][i] += w * value[i];
            }
        };
        int const firstSkip = LEVEL ? 2 * p.x.positions : 0;
#pragma unroll 4
        for (int c = slice; c < p.x.skipChannels; c += kSlices) {
            float value[kPixels];
#pragma unroll
            for (int row = 0; row < ROWS; ++row) {
                auto const read =
                    *reinterpret_cast<PixelRow<T, COLS> const*>(skip + c * plane + int64_t{row} * p.width);
#pragma unroll
                for (int column = 0; column < COLS; ++column) value[row * COLS + column] = toFloat(read.pixels[column]);
            }
            add(firstSkip + c, value);
        }
        if constexpr (LEVEL) {
            T const* previous = static_cast<T const*>(p.x.previous) + int64_t{n} * p.x.previousChannels * (plane / 4);
#pragma unroll 1
            for (int c = slice; c < p.x.previousChannels; c += kSlices) {
                float value[kPixels];
                if constexpr (kPixels == 1)
                    value[0] = enlarged(previous + c * (plane / 4), first, p.height, p.width);
                else
                    enlargePatch<ROWS, COLS>(value, previous + c * (plane / 4), first, p.height, p.width);
                add(firstSkip + p.x.skipChannels + c, value);
            }
            if (slice < firstSkip) {
                float value[kPixels];
#pragma unroll
                for (int i = 0; i < kPixels; ++i)
                    value[i] = rounded<T>(slice == 0 ? coordinate(first.column + i % COLS, p.width)
                                                     : coordinate(first.row + i / COLS, p.height));
                add(slice, value);
            }
        }
#pragma unroll
        for (int r = 0; r < kOutputs; ++r)
#pragma unroll
            for (int i = 0; i < kPixels; ++i) partial[(slice * kSums + r * kPixels + i) * kWarpSize + lane] = sum[r][i];
    }
    __syncthreads();
    if (!active) return;

    for (int i = slice; i < kSums; i += kSlices) {
        int const o = firstOutput + i / kPixels, pixel = i % kPixels;
        if (o >= p.outChannels) continue;
        float sum = p.bias ? toFloat(static_cast<T const*>(p.bias)[o]) : 0.f;
        for (int s = 0; s < kSlices; ++s) sum += partial[(s * kSums + i) * kWarpSize + lane];
        int64_t const offset = origin + int64_t{pixel / COLS} * p.width + pixel % COLS;
        static_cast<T*>(p.y)[(int64_t{n} * p.outChannels + o) * plane + offset] =
            fromFloat<T>(activate(sum, p.activation));
    }
}

}  // namespace hyperseg::lane_per_patch

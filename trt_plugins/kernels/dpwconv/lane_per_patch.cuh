// DPWConv 1x1 for patches of few pixels (coarse levels): all weights and hardly any pixels.
//
// Patches lie side by side in memory, weight[n, k, :, :], so a warp takes 32 neighbouring patches, one a lane: every
// weight is read from memory once, and a warp's read is one contiguous piece. The sum over the input channels is
// dealt out to the warps of the block, which gives enough reads in flight for maps of a few hundred patches.
//
// Who owns what: a block owns 32 patches (in x) and kOutputs output channels (in y); warp `slice` sums the input
// channels slice, slice + kSlices, ... of all ROWS x COLS pixels; then all threads add up the slices and write.
#pragma once

#include "../device.cuh"
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

// x [N, Cin, Nh * ROWS, Nw * COLS], 16-byte aligned; weight [N, K, Nh * Nw]; y [N, Cout, Nh * ROWS, Nw * COLS].
template <typename T, int ROWS, int COLS>
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
    int64_t const origin = int64_t{patch / p.gridWidth} * ROWS * p.width + patch % p.gridWidth * COLS;
    int const firstOutput = blockIdx.y * kOutputs;

    if (active) {
        T const* x = static_cast<T const*>(p.x.skip) + int64_t{n} * p.inChannels * plane + origin;
        T const* weight[kOutputs];
        float sum[kOutputs][kPixels] = {};
#pragma unroll
        for (int r = 0; r < kOutputs; ++r) {
            int const o = min(firstOutput + r, p.outChannels - 1);  // the last block may own fewer; not written below
            weight[r] = static_cast<T const*>(p.weight) + patch +
                        (int64_t{n} * p.weightChannels + p.weightOffset + int64_t{o} * p.inChannels) * patches;
        }
#pragma unroll 4
        for (int c = slice; c < p.inChannels; c += kSlices) {
            float w[kOutputs];
#pragma unroll
            for (int r = 0; r < kOutputs; ++r) w[r] = toFloat(weight[r][int64_t{c} * patches]);
#pragma unroll
            for (int row = 0; row < ROWS; ++row) {
                auto const read = *reinterpret_cast<PixelRow<T, COLS> const*>(x + c * plane + int64_t{row} * p.width);
#pragma unroll
                for (int column = 0; column < COLS; ++column) {
                    float const value = toFloat(read.pixels[column]);
#pragma unroll
                    for (int r = 0; r < kOutputs; ++r) sum[r][row * COLS + column] += w[r] * value;
                }
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

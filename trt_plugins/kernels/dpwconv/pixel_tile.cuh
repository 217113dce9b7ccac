// DPWConv 1x1 for patches of many pixels (fine levels): few weights, used by every pixel of the patch.
//
// Who owns what: a block owns kThreads pixels of one patch (in x) and kOutputs output channels (in y), a thread one
// pixel with its kOutputs sums in registers. The weights pass through shared memory, kChannels input channels at a
// time, as floats [channel, output]: a channel's weights are then read in four broadcasts of 16 bytes.
#pragma once

#include "../map.cuh"
#include "dpwconv.h"

namespace hyperseg::pixel_tile {

constexpr int kThreads = 128;
constexpr int kOutputs = 16;
constexpr int kChannels = 64;
constexpr int kSharedBytes = kChannels * kOutputs * static_cast<int>(sizeof(float));

// x [N, Cin, H, W], a Map; weight [N, K, Nh * Nw]; y [N, Cout, H, W]; blockIdx.x = (n, patch, tile), `tiles` to a
// patch.
template <typename T, bool LEVEL = false>
__global__ void __launch_bounds__(kThreads) dpwconvPixelTile(DpwConvParams const p) {
    HYPERSEG_SHARED_MEMORY(sharedMemory);
    float* theta = reinterpret_cast<float*>(sharedMemory);  // [kChannels, kOutputs]

    int const patchHeight = p.height / p.gridHeight, patchWidth = p.width / p.gridWidth;
    int const patches = p.gridHeight * p.gridWidth, pixels = patchHeight * patchWidth;
    int64_t const plane = int64_t{p.height} * p.width;
    int const tiles = (pixels + kThreads - 1) / kThreads, index = static_cast<int>(blockIdx.x) / tiles;
    int const n = index / patches, patch = index % patches;
    int const pixel = static_cast<int>(blockIdx.x) % tiles * kThreads + threadIdx.x;
    bool const active = pixel < pixels;
    int const row = patch / p.gridWidth * patchHeight + pixel / patchWidth;
    int const column = patch % p.gridWidth * patchWidth + pixel % patchWidth;
    int64_t const offset = int64_t{row} * p.width + column;
    int const firstOutput = blockIdx.y * kOutputs;

    T const* weight =
        static_cast<T const*>(p.weight) + (int64_t{n} * p.weightChannels + p.weightOffset) * patches + patch;
    Sample<T, LEVEL> const sample(p.x, n, p.height, p.width);
    float sum[kOutputs] = {};
    for (int first = 0; first < p.inChannels; first += kChannels) {
        int const channels = min(kChannels, p.inChannels - first);
        __syncthreads();  // the previous channels' weights are no longer needed
        for (int i = threadIdx.x; i < channels * kOutputs; i += kThreads) {
            int const c = i / kOutputs, o = firstOutput + i % kOutputs;
            bool const owned = o < p.outChannels;
            theta[i] = owned ? toFloat(weight[(int64_t{o} * p.inChannels + first + c) * patches]) : 0.f;
        }
        __syncthreads();
        if (!active) continue;
        sample.template forEachChannel<4>({row, column}, first, first + channels, [&](int c, float value) {
            float4 const* weights = reinterpret_cast<float4 const*>(theta + (c - first) * kOutputs);
#pragma unroll
            for (int o = 0; o < kOutputs / 4; ++o) {
                float4 const w = weights[o];
                sum[4 * o] += w.x * value;
                sum[4 * o + 1] += w.y * value;
                sum[4 * o + 2] += w.z * value;
                sum[4 * o + 3] += w.w * value;
            }
        });
    }
    if (!active) return;

    T* y = static_cast<T*>(p.y) + int64_t{n} * p.outChannels * plane + offset;
#pragma unroll
    for (int r = 0; r < kOutputs; ++r) {
        int const o = firstOutput + r;
        if (o >= p.outChannels) break;
        float const bias = p.bias ? toFloat(static_cast<T const*>(p.bias)[o]) : 0.f;
        y[o * plane] = fromFloat<T>(activate(sum[r] + bias, p.activation));
    }
}

}  // namespace hyperseg::pixel_tile

// DPWInvertedResidual on the CUDA cores, for FP32 and for shapes that the tensor cores' kernel does not serve.
//
// Who owns what: a block owns a tile of one patch (in x) and kOutputs output channels (in y), a thread one pixel of
// the tile with its kOutputs sums in registers. The hidden channels pass by kHidden at a time: all threads expand the
// tile with its halo into shared memory, then each filters its own pixel and adds its part of the projection. Hidden
// values are floats and never leave the block.
#pragma once

#include "../map.cuh"
#include "dpw_inverted_residual.h"

namespace hyperseg::pixel_tile {

constexpr int kMaxThreads = 256;
constexpr int kHidden = 8;
constexpr int kOutputs = 24;

struct Params {
    DpwInvertedResidualParams block;
    int tileHeight, tileWidth;  // of at most blockDim.x pixels
};

// In floats: expand [Cin, kHidden], project [kHidden, kOutputs], depthwise [kHidden, kh * kw], hidden [kHidden,
// window].
inline int64_t sharedBytes(Params const& params) {
    DpwInvertedResidualParams const& p = params.block;
    int64_t const window =
        (int64_t{params.tileHeight} + p.kernelHeight - 1) * (int64_t{params.tileWidth} + p.kernelWidth - 1);
    int64_t const taps = int64_t{p.kernelHeight} * p.kernelWidth;
    return kHidden * (int64_t{p.inChannels} + kOutputs + taps + window) * static_cast<int64_t>(sizeof(float));
}

// x [N, Cin, H, W], a Map; weight [N, K, Nh * Nw]; y [N, Cout, H, W]; blockIdx.x = (n, patch, tile).
template <typename T, bool LEVEL = false>
__global__ void __launch_bounds__(kMaxThreads, 2) dpwInvertedResidualPixelTile(Params const params) {
    DpwInvertedResidualParams const& p = params.block;
    int const taps = p.kernelHeight * p.kernelWidth, threads = blockDim.x;
    HYPERSEG_SHARED_MEMORY(sharedMemory);
    float* expand = reinterpret_cast<float*>(sharedMemory);
    float* project = expand + p.inChannels * kHidden;
    float* depthwise = project + kHidden * kOutputs;
    float* hidden = depthwise + kHidden * taps;

    int const patchHeight = p.height / p.gridHeight, patchWidth = p.width / p.gridWidth;
    int const tileRows = (patchHeight + params.tileHeight - 1) / params.tileHeight;
    int const tileColumns = (patchWidth + params.tileWidth - 1) / params.tileWidth, tiles = tileRows * tileColumns;
    int const patches = p.gridHeight * p.gridWidth, index = static_cast<int>(blockIdx.x) / tiles;
    int const n = index / patches, patch = index % patches, tile = static_cast<int>(blockIdx.x) % tiles;
    int const tileRow = tile / tileColumns * params.tileHeight, tileColumn = tile % tileColumns * params.tileWidth;
    int const firstRow = patch / p.gridWidth * patchHeight + tileRow;
    int const firstColumn = patch % p.gridWidth * patchWidth + tileColumn;
    int const firstOutput = blockIdx.y * kOutputs;
    int const windowWidth = params.tileWidth + p.kernelWidth - 1;
    int const window = (params.tileHeight + p.kernelHeight - 1) * windowWidth;

    // A tile at the patch's end reaches beyond it; what it computes there is not written. Its window may reach beyond
    // the map's mirror image, so it is cut where the patch's own halo ends.
    int const lastRow = firstRow - tileRow + patchHeight - 1 + p.kernelHeight / 2;
    int const lastColumn = firstColumn - tileColumn + patchWidth - 1 + p.kernelWidth / 2;
    int const row = threadIdx.x / params.tileWidth, column = threadIdx.x % params.tileWidth;
    bool const inTile = row < params.tileHeight;
    bool const active = inTile && tileRow + row < patchHeight && tileColumn + column < patchWidth;

    int64_t const plane = int64_t{p.height} * p.width;
    T const* theta =
        static_cast<T const*>(p.weight) + patch + (int64_t{n} * p.weightChannels + p.weightOffset) * patches;
    int64_t const depthwiseStart = int64_t{p.hiddenChannels} * p.inChannels;
    int64_t const projectStart = depthwiseStart + int64_t{p.hiddenChannels} * taps;

    Sample<T, LEVEL> const sample(p.x, n, p.height, p.width);
    float sum[kOutputs] = {};
    for (int first = 0; first < p.hiddenChannels; first += kHidden) {
        __syncthreads();  // the previous channels are no longer needed
        // Channels beyond the last one get weights of 0.
        for (int i = threadIdx.x; i < p.inChannels * kHidden; i += threads) {
            int const h = first + i % kHidden, c = i / kHidden;
            bool const owned = h < p.hiddenChannels;
            expand[i] = owned ? toFloat(theta[(int64_t{h} * p.inChannels + c) * patches]) : 0.f;
        }
        for (int i = threadIdx.x; i < kHidden * taps; i += threads) {
            int64_t const value = int64_t{first} * taps + i;
            bool const owned = value < int64_t{p.hiddenChannels} * taps;
            depthwise[i] = owned ? toFloat(theta[(depthwiseStart + value) * patches]) : 0.f;
        }
        for (int i = threadIdx.x; i < kHidden * kOutputs; i += threads) {
            int const h = first + i / kOutputs, o = firstOutput + i % kOutputs;
            bool const owned = h < p.hiddenChannels && o < p.outChannels;
            project[i] = owned ? toFloat(theta[(projectStart + int64_t{o} * p.hiddenChannels + h) * patches]) : 0.f;
        }
        __syncthreads();

        for (int i = threadIdx.x; i < window; i += threads) {
            int const xRow = min(firstRow + i / windowWidth - p.kernelHeight / 2, lastRow);
            int const xColumn = min(firstColumn + i % windowWidth - p.kernelWidth / 2, lastColumn);
            Pixel const xPixel = pixelAt(xRow, xColumn, p.height, p.width, p.padMode);
            float value[kHidden];
#pragma unroll
            for (int h = 0; h < kHidden; ++h)
                value[h] = first + h < p.hiddenChannels ? toFloat(static_cast<T const*>(p.bias1)[first + h]) : 0.f;
            if (xPixel.row >= 0)
                sample.template forEachChannel<1>(xPixel, 0, p.inChannels, [&](int c, float x) {
#pragma unroll
                    for (int h = 0; h < kHidden; ++h) value[h] += expand[c * kHidden + h] * x;
                });
#pragma unroll
            for (int h = 0; h < kHidden; ++h) hidden[h * window + i] = activate(value[h], p.activation);
        }
        __syncthreads();

#pragma unroll 1
        for (int h = 0; inTile && h < min(kHidden, p.hiddenChannels - first); ++h) {
            float filtered = toFloat(static_cast<T const*>(p.bias2)[first + h]);
            float const* under = hidden + h * window + row * windowWidth + column;
            for (int u = 0; u < p.kernelHeight; ++u)
                for (int v = 0; v < p.kernelWidth; ++v)
                    filtered += depthwise[h * taps + u * p.kernelWidth + v] * under[u * windowWidth + v];
            filtered = activate(filtered, p.activation);
#pragma unroll
            for (int o = 0; o < kOutputs; ++o) sum[o] += project[h * kOutputs + o] * filtered;
        }
    }
    if (!active) return;

    int64_t const offset = int64_t{firstRow + row} * p.width + firstColumn + column;
    T* y = static_cast<T*>(p.y) + int64_t{n} * p.outChannels * plane + offset;
#pragma unroll
    for (int r = 0; r < kOutputs; ++r) {
        int const o = firstOutput + r;
        if (o >= p.outChannels) break;
        float const bias = toFloat(static_cast<T const*>(p.bias3)[o]);
        float const identity = p.residual ? toFloat(sample.skip[o * plane + offset]) : 0.f;
        y[o * plane] = fromFloat<T>(sum[r] + bias + identity);
    }
}

}  // namespace hyperseg::pixel_tile

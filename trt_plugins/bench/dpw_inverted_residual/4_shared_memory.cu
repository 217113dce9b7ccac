// Step 4: fused again, the hidden values in shared memory. What changed: a block owns a tile of one patch and takes one
// hidden channel after the other: all threads expand the tile with its halo into shared memory, then each filters its
// own pixel and adds its part of the projection to sums in registers.
//
// Cost, cityscapes-m level 4 (34 -> 68 -> 19 channels, 512 patches of 16x16 pixels, FP16): 68 * (34 * 324 + 9 * 256 +
// 24 * 256) multiply-adds a patch, 678 million in all, 1.2 times the least; 18.2 MB of device memory, the least; 1.3 KB
// of shared memory a block, 136 barriers.
//
// Lesson: fusing gives the bytes back, 99.0 to 18.2 MB, and by the count gains little time: as in the steps before, a
// multiply-add of the expand loads both its factors, and a multiprocessor starts four multiply-adds in the time of one
// load. Where the values lie matters less than how often each is loaded.
#include <algorithm>

#include "../../kernels/device.cuh"
#include "../../kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "../../kernels/launch.h"

namespace hyperseg {

constexpr int kMaxTileSide = 16;
constexpr int kOutputs = 24;

struct Params {
    DpwInvertedResidualParams block;
    int tileHeight, tileWidth;  // divide the patch; a thread a pixel
};

// x [N, Cin, H, W]; weight [N, K, Nh * Nw]; y [N, Cout, H, W]; blockIdx.x = (n, patch, tile), blockIdx.y a group of
// kOutputs output channels.
template <typename T>
__global__ void __launch_bounds__(kMaxTileSide* kMaxTileSide, 3) sharedMemory(Params const params) {
    DpwInvertedResidualParams const& p = params.block;
    HYPERSEG_SHARED_MEMORY(memory);
    float* hidden = reinterpret_cast<float*>(memory);  // [window]

    int const patchHeight = p.height / p.gridHeight, patchWidth = p.width / p.gridWidth;
    int const tilesAcross = patchWidth / params.tileWidth, tiles = patchHeight / params.tileHeight * tilesAcross;
    int const patches = p.gridHeight * p.gridWidth, index = static_cast<int>(blockIdx.x) / tiles;
    int const n = index / patches, patch = index % patches, tile = static_cast<int>(blockIdx.x) % tiles;
    int const firstRow = patch / p.gridWidth * patchHeight + tile / tilesAcross * params.tileHeight;
    int const firstColumn = patch % p.gridWidth * patchWidth + tile % tilesAcross * params.tileWidth;
    int const row = threadIdx.x / params.tileWidth, column = threadIdx.x % params.tileWidth;
    int const windowWidth = params.tileWidth + p.kernelWidth - 1;
    int const window = (params.tileHeight + p.kernelHeight - 1) * windowWidth, threads = blockDim.x;
    int const firstOutput = blockIdx.y * kOutputs;

    int64_t const plane = int64_t{p.height} * p.width, taps = int64_t{p.kernelHeight} * p.kernelWidth;
    T const* x = static_cast<T const*>(p.x.skip) + int64_t{n} * p.inChannels * plane;
    T const* expand =
        static_cast<T const*>(p.weight) + patch + (int64_t{n} * p.weightChannels + p.weightOffset) * patches;
    T const* depthwise = expand + int64_t{p.hiddenChannels} * p.inChannels * patches;
    T const* project = depthwise + p.hiddenChannels * taps * patches;

    float sum[kOutputs] = {};
    for (int h = 0; h < p.hiddenChannels; ++h) {
        __syncthreads();  // the previous channel is no longer needed
        for (int i = threadIdx.x; i < window; i += threads) {
            int64_t const offset =
                pixelOffset(firstRow + i / windowWidth - p.kernelHeight / 2,
                            firstColumn + i % windowWidth - p.kernelWidth / 2, p.height, p.width, p.padMode);
            float value = toFloat(static_cast<T const*>(p.bias1)[h]);
            for (int c = 0; offset >= 0 && c < p.inChannels; ++c)
                value += toFloat(expand[(int64_t{h} * p.inChannels + c) * patches]) * toFloat(x[c * plane + offset]);
            hidden[i] = activate(value, p.activation);
        }
        __syncthreads();

        float filtered = toFloat(static_cast<T const*>(p.bias2)[h]);
        for (int u = 0; u < p.kernelHeight; ++u)
            for (int v = 0; v < p.kernelWidth; ++v)
                filtered += toFloat(depthwise[(h * taps + u * p.kernelWidth + v) * patches]) *
                            hidden[(row + u) * windowWidth + column + v];
        filtered = activate(filtered, p.activation);
        T const* weights = project + (int64_t{firstOutput} * p.hiddenChannels + h) * patches;
#pragma unroll
        for (int r = 0; r < kOutputs; ++r) {
            sum[r] += toFloat(*weights) * filtered;
            // Beyond the last channel: computed and not written.
            if (firstOutput + r + 1 < p.outChannels) weights += int64_t{p.hiddenChannels} * patches;
        }
    }

    int64_t const offset = int64_t{firstRow + row} * p.width + firstColumn + column;
    T* y = static_cast<T*>(p.y) + int64_t{n} * p.outChannels * plane + offset;
#pragma unroll
    for (int r = 0; r < kOutputs; ++r) {
        int const o = firstOutput + r;
        if (o >= p.outChannels) break;
        float const identity = p.residual ? toFloat(x[o * plane + offset]) : 0.f;
        y[o * plane] = fromFloat<T>(sum[r] + toFloat(static_cast<T const*>(p.bias3)[o]) + identity);
    }
}

// The largest divisor of a patch's side that a block has threads for, so that all tiles are whole.
static int tileSide(int patchSide) {
    int side = std::min(patchSide, kMaxTileSide);
    while (patchSide % side) --side;
    return side;
}

template <typename T>
static cudaError_t launchTyped(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    int const tileHeight = tileSide(p.height / p.gridHeight), tileWidth = tileSide(p.width / p.gridWidth);
    int64_t const tiles = int64_t{p.batch} * (p.height / tileHeight) * (p.width / tileWidth);
    size_t const window = (size_t{1} * tileHeight + p.kernelHeight - 1) * (tileWidth + p.kernelWidth - 1);
    return launch(sharedMemory<T>, tiles, ceilDiv(p.outChannels, kOutputs), tileHeight * tileWidth,
                  window * sizeof(float), stream, Params{p, tileHeight, tileWidth});
}

cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    return p.type == Type::kFloat16 ? launchTyped<__half>(p, stream) : launchTyped<float>(p, stream);
}

}  // namespace hyperseg

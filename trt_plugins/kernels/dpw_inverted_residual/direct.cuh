// DPWInvertedResidual for whatever the other kernels cannot hold in shared memory (very large kernels or channel
// counts). A thread owns one pixel of output channels o = blockIdx.y, blockIdx.y + gridDim.y, ... of every sample, and
// computes the hidden values under its taps itself: correct for every shape, and slow.
#pragma once

#include "../map.cuh"
#include "dpw_inverted_residual.h"

namespace hyperseg::direct {

constexpr int kThreads = 128;

// x [N, Cin, H, W], a Map; weight [N, K, Nh * Nw]; y [N, Cout, H, W].
template <typename T, bool LEVEL = false>
__global__ void __launch_bounds__(kThreads, 4) dpwInvertedResidualDirect(DpwInvertedResidualParams const p) {
    int const pixel = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
    if (pixel >= p.height * p.width) return;
    int const row = pixel / p.width, column = pixel % p.width;
    int const patch = row / (p.height / p.gridHeight) * p.gridWidth + column / (p.width / p.gridWidth);
    int64_t const plane = int64_t{p.height} * p.width, patches = int64_t{p.gridHeight} * p.gridWidth;
    int64_t const taps = int64_t{p.kernelHeight} * p.kernelWidth;
    T const* bias1 = static_cast<T const*>(p.bias1);
    T const* bias2 = static_cast<T const*>(p.bias2);
    T const* bias3 = static_cast<T const*>(p.bias3);

    for (int64_t n = 0; n < p.batch; ++n) {
        Sample<T, LEVEL> const sample(p.x, n, p.height, p.width);
        T const* expand = static_cast<T const*>(p.weight) + patch + (n * p.weightChannels + p.weightOffset) * patches;
        T const* depthwise = expand + int64_t{p.hiddenChannels} * p.inChannels * patches;
        T const* project = depthwise + p.hiddenChannels * taps * patches;
        for (int o = blockIdx.y; o < p.outChannels; o += gridDim.y) {
            float sum = toFloat(bias3[o]);
            for (int h = 0; h < p.hiddenChannels; ++h) {
                float filtered = toFloat(bias2[h]);
                for (int u = 0; u < p.kernelHeight; ++u) {
                    for (int v = 0; v < p.kernelWidth; ++v) {
                        Pixel const xPixel = pixelAt(row + u - p.kernelHeight / 2, column + v - p.kernelWidth / 2,
                                                     p.height, p.width, p.padMode);
                        float hidden = toFloat(bias1[h]);
                        if (xPixel.row >= 0)
                            sample.template forEachChannel<2>(xPixel, 0, p.inChannels, [&](int c, float x) {
                                hidden += toFloat(expand[(int64_t{h} * p.inChannels + c) * patches]) * x;
                            });
                        float const tap = toFloat(depthwise[(h * taps + u * p.kernelWidth + v) * patches]);
                        filtered += tap * activate(hidden, p.activation);
                    }
                }
                sum +=
                    toFloat(project[(int64_t{o} * p.hiddenChannels + h) * patches]) * activate(filtered, p.activation);
            }
            if (p.residual) sum += toFloat(sample.skip[o * plane + pixel]);
            static_cast<T*>(p.y)[(n * p.outChannels + o) * plane + pixel] = fromFloat<T>(sum);
        }
    }
}

}  // namespace hyperseg::direct

// DPWConv for every shape: any kernel, groups, depthwise, patch size. A thread owns one pixel, of the
// output channels o = blockIdx.y, blockIdx.y + gridDim.y, ... of every sample.
//
// Neighbouring threads own neighbouring columns, so the reads of x are contiguous and the taps of a patch's pixels
// meet in the cache; the weights are one address to all threads of a patch's row. For a depthwise convolution, which
// uses every value only kernelHeight * kernelWidth times, that is near what memory allows.
#pragma once

#include "../map.cuh"
#include "dpwconv.h"

namespace hyperseg::direct {

constexpr int kThreads = 256;

// x [N, Cin, H, W], a Map; weight [N, K, Nh * Nw]; y [N, Cout, H, W].
template <typename T, bool LEVEL = false>
__global__ void __launch_bounds__(kThreads) dpwconvDirect(DpwConvParams const p) {
    int const pixel = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
    if (pixel >= p.height * p.width) return;
    int const row = pixel / p.width, column = pixel % p.width;
    int const patch = row / (p.height / p.gridHeight) * p.gridWidth + column / (p.width / p.gridWidth);
    int64_t const plane = int64_t{p.height} * p.width, patches = int64_t{p.gridHeight} * p.gridWidth;
    int const groupIn = p.inChannels / p.group, groupOut = p.outChannels / p.group;
    int64_t const taps = int64_t{p.kernelHeight} * p.kernelWidth;

    for (int64_t n = 0; n < p.batch; ++n) {
        Sample<T, LEVEL> const sample(p.x, n, p.height, p.width);
        for (int o = blockIdx.y; o < p.outChannels; o += gridDim.y) {
            int const firstChannel = o / groupOut * groupIn;
            T const* weight = static_cast<T const*>(p.weight) + patch +
                              (n * p.weightChannels + p.weightOffset + o * taps * groupIn) * patches;
            float sum = p.bias ? toFloat(static_cast<T const*>(p.bias)[o]) : 0.f;
            for (int u = 0; u < p.kernelHeight; ++u) {
                for (int v = 0; v < p.kernelWidth; ++v) {
                    int const xRow = row + u - p.kernelHeight / 2, xColumn = column + v - p.kernelWidth / 2;
                    Pixel const xPixel = pixelAt(xRow, xColumn, p.height, p.width, p.padMode);
                    if (xPixel.row < 0) continue;
                    int64_t const tap = int64_t{u} * p.kernelWidth + v;
                    sample.template forEachChannel<2>(
                        xPixel, firstChannel, firstChannel + groupIn, [&](int c, float x) {
                            sum += toFloat(weight[((c - firstChannel) * taps + tap) * patches]) * x;
                        });
                }
            }
            T* y = static_cast<T*>(p.y) + (n * p.outChannels + o) * plane;
            y[pixel] = fromFloat<T>(activate(sum, p.activation));
        }
    }
}

}  // namespace hyperseg::direct

// Step 2: a thread an output pixel. What changed: the thread keeps the sums of 24 output channels in registers, so a
// filtered value, once computed, serves all of them.
//
// Cost, cityscapes-m level 4 (34 -> 68 -> 19 channels, 512 patches of 16x16 pixels, FP16): a pixel needs
// 68 * (9 * (34 + 1) + 24) multiply-adds, five of the 24 for channels that are not there; all together 3,021 million,
// 5.5 times the least. Device memory: 18.2 MB, as before. Each multiply-add of the expand still loads both its factors.
//
// Lesson: the order of the loops is worth a factor of 18 in operations. What is left over is the overlap of the taps:
// neighbouring pixels expand the same nine pixels, and only by sharing hidden values does that go away.
#include "../../kernels/device.cuh"
#include "../../kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "../../kernels/launch.h"

namespace hyperseg {

constexpr int kThreads = 128;
constexpr int kOutputs = 24;

// x [N, Cin, H, W]; weight [N, K, Nh * Nw]; y [N, Cout, H, W]. blockIdx.x counts the pixels of all samples, blockIdx.y
// groups of kOutputs output channels.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4) pixelAThread(DpwInvertedResidualParams const p) {
    int const plane = p.height * p.width, index = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
    if (index >= p.batch * plane) return;
    int const n = index / plane, pixel = index % plane, row = pixel / p.width, column = pixel % p.width;
    int const patch = row / (p.height / p.gridHeight) * p.gridWidth + column / (p.width / p.gridWidth);
    int const firstOutput = blockIdx.y * kOutputs;
    int64_t const patches = int64_t{p.gridHeight} * p.gridWidth, taps = int64_t{p.kernelHeight} * p.kernelWidth;
    T const* x = static_cast<T const*>(p.x.skip) + int64_t{n} * p.inChannels * plane;
    T const* expand =
        static_cast<T const*>(p.weight) + patch + (int64_t{n} * p.weightChannels + p.weightOffset) * patches;
    T const* depthwise = expand + int64_t{p.hiddenChannels} * p.inChannels * patches;
    T const* project = depthwise + p.hiddenChannels * taps * patches;

    float sum[kOutputs] = {};
    for (int h = 0; h < p.hiddenChannels; ++h) {
        float filtered = toFloat(static_cast<T const*>(p.bias2)[h]);
        for (int u = 0; u < p.kernelHeight; ++u) {
            for (int v = 0; v < p.kernelWidth; ++v) {
                int64_t const offset = pixelOffset(row + u - p.kernelHeight / 2, column + v - p.kernelWidth / 2,
                                                   p.height, p.width, p.padMode);
                float hidden = toFloat(static_cast<T const*>(p.bias1)[h]);
                for (int c = 0; offset >= 0 && c < p.inChannels; ++c)
                    hidden += toFloat(expand[(int64_t{h} * p.inChannels + c) * patches]) *
                              toFloat(x[int64_t{c} * plane + offset]);
                float const tap = toFloat(depthwise[(h * taps + u * p.kernelWidth + v) * patches]);
                filtered += tap * activate(hidden, p.activation);
            }
        }
        filtered = activate(filtered, p.activation);
        T const* weights = project + (int64_t{firstOutput} * p.hiddenChannels + h) * patches;
#pragma unroll
        for (int r = 0; r < kOutputs; ++r) {
            sum[r] += toFloat(*weights) * filtered;
            // Beyond the last channel: computed and not written.
            if (firstOutput + r + 1 < p.outChannels) weights += int64_t{p.hiddenChannels} * patches;
        }
    }

    T* y = static_cast<T*>(p.y) + int64_t{n} * p.outChannels * plane;
#pragma unroll
    for (int r = 0; r < kOutputs; ++r) {
        int const o = firstOutput + r;
        if (o >= p.outChannels) break;
        float const identity = p.residual ? toFloat(x[int64_t{o} * plane + pixel]) : 0.f;
        y[int64_t{o} * plane + pixel] = fromFloat<T>(sum[r] + toFloat(static_cast<T const*>(p.bias3)[o]) + identity);
    }
}

template <typename T>
static cudaError_t launchTyped(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    int64_t const blocks = ceilDiv(int64_t{p.batch} * p.height * p.width, kThreads);
    return launch(pixelAThread<T>, blocks, ceilDiv(p.outChannels, kOutputs), kThreads, 0, stream, p);
}

cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    return p.type == Type::kFloat16 ? launchTyped<__half>(p, stream) : launchTyped<float>(p, stream);
}

}  // namespace hyperseg

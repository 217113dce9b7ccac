// Step 6: the two 1x1 convolutions on the tensor cores. What changed: expand and project are
// matrix products of a warp; x, theta and two planes of eight hidden channels lie in shared memory in FP16; between the
// products the depthwise runs in registers, down a strip of four rows, so that a hidden value is loaded for up to three
// outputs at once. FP32, and patches that are not whole tiles of 16x16 pixels, keep step 5.
//
// Cost, cityscapes-m level 4 (34 -> 68 -> 19 channels, 512 patches of 16x16 pixels, FP16): 856 million multiply-adds
// on the tensor cores, a third of them on padding (34 to 40 and 68 to 80 channels, 19 to 24 outputs, 324 to 384 pixels
// of the window), and 85 million on the CUDA cores; 18.2 MB of device memory, the least; 46 KB of shared memory.
//
// Lesson: once the products are nearly free, what remains is everything else. nvcc makes of this source some 58,000
// instructions of a warp a tile (sm_87), and a multiprocessor starts four a clock: 14,500 clocks, where the accesses to
// memory take 5,200 and the tensor cores 1,600. Seven tenths are between the products: conversions between FP16 and
// float, activations with a comparison and a branch a value; then indices that are divided for every value staged.
#include <algorithm>

#include "../../kernels/dpw_inverted_residual/pixel_tile.cuh"
#include "../../kernels/launch.h"
#include "../../kernels/mma.cuh"

namespace hyperseg {

constexpr int kTile = 16, kMTiles = 2, kNTiles = 3, kStripRows = 2 * kMTiles, kWarps = 8;
constexpr int kWindowWidth = kTile + 2, kWindow = kWindowWidth * kWindowWidth;
constexpr int kWarpTiles = 3;  // rows of 16 window pixels that a warp expands: warp, warp + kWarps, ...
constexpr int kOutputs = kNTiles * 8;
constexpr int kPlanes = 2;
constexpr int kTaps = 9;

__device__ inline float low(uint32_t pair) { return __half2float(__ushort_as_half(pair & 0xffff)); }
__device__ inline float high(uint32_t pair) { return __half2float(__ushort_as_half(pair >> 16)); }

// Rounds a row of values up to an odd number of 8s: rows then start 4 banks apart, modulo 32.
__host__ __device__ inline int rowStride(int values) { return (values + 7) / 8 * 8 + ((values + 7) / 8 % 2 ? 0 : 8); }
__host__ __device__ inline int roundUp8(int values) { return (values + 7) / 8 * 8; }

// x [kWindow, rowStride(Cin)], hidden [kPlanes, kWindow, 8], expand [hidden, rowStride(Cin)], project [kOutputs,
// rowStride(hidden)] and depthwise [9, hidden], all FP16; float bias1 [hidden] and bias2 [hidden].
static int64_t sharedBytes(DpwInvertedResidualParams const& p) {
    int64_t const hidden = roundUp8(p.hiddenChannels), stride = rowStride(p.inChannels);
    int64_t const theta = hidden * stride + kTaps * hidden + kOutputs * int64_t{rowStride(p.hiddenChannels)};
    return 2 * (kWindow * stride + kPlanes * kWindow * 8 + theta) + 4 * 2 * hidden;
}

// FP16 values that are moved at once.
struct alignas(16) Eight {
    uint16_t bits[8];
};

// A part of theta as a matrix: element (row, column) is value row * rowStep + column * columnStep.
struct Matrix {
    int rows, columns, rowStep, columnStep;
};

// to [rows, stride] = the part, and zeros beyond it.
__device__ inline void stage(__half* to, int rows, int stride, __half const* theta, Matrix part, int patches) {
    for (int i = threadIdx.x; i < rows * stride; i += kWarps * kWarpSize) {
        int const row = i / stride, column = i % stride;
        bool const inside = row < part.rows && column < part.columns;
        int64_t const value = int64_t{row * part.rowStep + column * part.columnStep} * patches;
        to[i] = inside ? theta[value] : __float2half(0.f);
    }
}

// x [N, Cin, H, W]; weight [N, K, Nh * Nw]; y [N, Cout, H, W]; blockIdx.x = (n, patch, tile).
__global__ void __launch_bounds__(kWarps* kWarpSize, 2) tensorCore(DpwInvertedResidualParams const p) {
    int const hiddenSize = roundUp8(p.hiddenChannels), xStride = rowStride(p.inChannels);
    int const projectStride = rowStride(p.hiddenChannels), depth = roundUp8(p.inChannels);
    HYPERSEG_SHARED_MEMORY(sharedMemory);
    __half* x = reinterpret_cast<__half*>(sharedMemory);
    __half* hidden = x + kWindow * xStride;
    __half* expand = hidden + kPlanes * kWindow * 8;
    __half* project = expand + hiddenSize * xStride;
    __half* depthwise = project + kOutputs * projectStride;
    float* bias1 = reinterpret_cast<float*>(depthwise + kTaps * hiddenSize);
    float* bias2 = bias1 + hiddenSize;

    int const patchHeight = p.height / p.gridHeight, patchWidth = p.width / p.gridWidth;
    int const patches = p.gridHeight * p.gridWidth, tilesAcross = patchWidth / kTile;
    int const tiles = patchHeight / kTile * tilesAcross, tile = static_cast<int>(blockIdx.x) % tiles;
    int const index = static_cast<int>(blockIdx.x) / tiles, n = index / patches, patch = index % patches;
    int const firstRow = patch / p.gridWidth * patchHeight + tile / tilesAcross * kTile;
    int const firstColumn = patch % p.gridWidth * patchWidth + tile % tilesAcross * kTile;
    int64_t const plane = int64_t{p.height} * p.width;
    __half const* input = static_cast<__half const*>(p.x.skip) + int64_t{n} * p.inChannels * plane;
    __half* y = static_cast<__half*>(p.y) + int64_t{n} * p.outChannels * plane;

    __half const* theta =
        static_cast<__half const*>(p.weight) + patch + (int64_t{n} * p.weightChannels + p.weightOffset) * patches;
    int64_t const depthwiseStart = int64_t{p.hiddenChannels} * p.inChannels;
    int64_t const projectStart = depthwiseStart + int64_t{p.hiddenChannels} * kTaps;
    stage(expand, hiddenSize, xStride, theta, {p.hiddenChannels, p.inChannels, p.inChannels, 1}, patches);
    stage(depthwise, kTaps, hiddenSize, theta + depthwiseStart * patches, {kTaps, p.hiddenChannels, 1, kTaps}, patches);
    stage(project, kOutputs, projectStride, theta + projectStart * patches,
          {p.outChannels, p.hiddenChannels, p.hiddenChannels, 1}, patches);
    for (int h = threadIdx.x; h < hiddenSize; h += kWarps * kWarpSize) {
        bias1[h] = h < p.hiddenChannels ? toFloat(static_cast<__half const*>(p.bias1)[h]) : 0.f;
        bias2[h] = h < p.hiddenChannels ? toFloat(static_cast<__half const*>(p.bias2)[h]) : 0.f;
    }

    int const warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize, group = lane / 4, pair = lane % 4 * 2;
    int const stripRow = warp / 2 * kStripRows, stripColumn = warp % 2 * 8;

    // The tile and its halo, 8 channels of a pixel at a time; zeros in the channels beyond the last.
#pragma unroll 1
    for (int i = threadIdx.x; i < kWindow * (depth / 8); i += kWarps * kWarpSize) {
        int const pixel = i % kWindow, c = i / kWindow * 8;
        int64_t const offset = pixelOffset(firstRow + pixel / kWindowWidth - 1, firstColumn + pixel % kWindowWidth - 1,
                                           p.height, p.width, p.padMode);
        __half const* from = input + c * plane + offset;
        Eight values;
#pragma unroll
        for (int k = 0; k < 8; ++k)
            values.bits[k] = offset >= 0 && c + k < p.inChannels ? __half_as_ushort(from[k * plane]) : 0;
        *reinterpret_cast<Eight*>(x + pixel * xStride + c) = values;
    }

    float sum[kMTiles][kNTiles][4] = {};
    for (int first = 0; first < hiddenSize; first += kPlanes * 8) {
        int const planes = min(kPlanes, (hiddenSize - first) / 8);
        __syncthreads();  // staged, or the previous planes are no longer needed

        float value[kWarpTiles][kPlanes][4] = {};
#pragma unroll 2
        for (int k = 0; k < depth; k += 8) {
            uint32_t b[kPlanes];
#pragma unroll
            for (int s = 0; s < kPlanes; ++s)
                b[s] = s < planes ? pairAt(expand + (first + s * 8 + group) * xStride + k + pair) : 0;
#pragma unroll
            for (int m = 0; m < kWarpTiles; ++m) {
                // Pixels beyond the window are computed from the last one and not kept.
                int const pixel = (warp + m * kWarps) * 16 + group;
                uint32_t const a0 = pairAt(x + min(pixel, kWindow - 1) * xStride + k + pair);
                uint32_t const a1 = pairAt(x + min(pixel + 8, kWindow - 1) * xStride + k + pair);
#pragma unroll
                for (int s = 0; s < kPlanes; ++s) mma16x8x8(value[m][s], a0, a1, b[s]);
            }
        }
#pragma unroll
        for (int s = 0; s < kPlanes; ++s) {
            if (s >= planes) break;
            float const b0 = bias1[first + s * 8 + pair], b1 = bias1[first + s * 8 + pair + 1];
#pragma unroll
            for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    int const pixel = (warp + m * kWarps) * 16 + group + half * 8;
                    if (pixel >= kWindow) continue;
                    *reinterpret_cast<uint32_t*>(hidden + (s * kWindow + pixel) * 8 + pair) =
                        packed(activate(value[m][s][2 * half] + b0, p.activation),
                               activate(value[m][s][2 * half + 1] + b1, p.activation));
                }
            }
        }
        __syncthreads();

        for (int s = 0; s < planes; ++s) {
            int const h = first + s * 8 + pair;
            float filtered[kStripRows][2];
#pragma unroll
            for (int r = 0; r < kStripRows; ++r) {
                filtered[r][0] = bias2[h];
                filtered[r][1] = bias2[h + 1];
            }
            __half const* column = hidden + (s * kWindow + stripRow * kWindowWidth + stripColumn + group) * 8 + pair;
#pragma unroll
            for (int v = 0; v < 3; ++v) {
                uint32_t tap[3];
#pragma unroll
                for (int u = 0; u < 3; ++u) tap[u] = pairAt(depthwise + (u * 3 + v) * hiddenSize + h);
#pragma unroll
                for (int row = 0; row < kStripRows + 2; ++row) {
                    uint32_t const under = pairAt(column + (row * kWindowWidth + v) * 8);
#pragma unroll
                    for (int u = 0; u < 3; ++u) {
                        int const r = row - u;
                        if (r < 0 || r >= kStripRows) continue;
                        filtered[r][0] += low(tap[u]) * low(under);
                        filtered[r][1] += high(tap[u]) * high(under);
                    }
                }
            }
            uint32_t a[kStripRows];
#pragma unroll
            for (int r = 0; r < kStripRows; ++r)
                a[r] = packed(activate(filtered[r][0], p.activation), activate(filtered[r][1], p.activation));
#pragma unroll
            for (int o = 0; o < kNTiles; ++o) {
                uint32_t const b = pairAt(project + (o * 8 + group) * projectStride + h);
#pragma unroll
                for (int m = 0; m < kMTiles; ++m) mma16x8x8(sum[m][o], a[2 * m], a[2 * m + 1], b);
            }
        }
    }

#pragma unroll
    for (int i = 0; i < kNTiles * 2; ++i) {
        int const o = i / 2 * 8 + pair + i % 2;
        if (o >= p.outChannels) continue;
        float const bias = toFloat(static_cast<__half const*>(p.bias3)[o]);
#pragma unroll
        for (int r = 0; r < kStripRows; ++r) {
            int const row = firstRow + stripRow + r, column = firstColumn + stripColumn + group;
            int64_t const offset = o * plane + int64_t{row} * p.width + column;
            float const identity = p.residual ? toFloat(input[offset]) : 0.f;
            y[offset] = __float2half(sum[r / 2][i / 2][r % 2 * 2 + i % 2] + bias + identity);
        }
    }
}

template <typename T>
static cudaError_t launchPixelTile(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    using namespace pixel_tile;
    int const patchHeight = p.height / p.gridHeight, patchWidth = p.width / p.gridWidth;
    Params const params{p, std::min(patchHeight, 16), std::min(patchWidth, 16)};
    int64_t const tiles = ceilDiv(patchHeight, params.tileHeight) * ceilDiv(patchWidth, params.tileWidth);
    return launch(dpwInvertedResidualPixelTile<T>, int64_t{p.batch} * p.gridHeight * p.gridWidth * tiles,
                  ceilDiv(p.outChannels, pixel_tile::kOutputs), kMaxThreads,
                  static_cast<size_t>(pixel_tile::sharedBytes(params)), stream, params);
}

cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    bool const whole = p.height / p.gridHeight % kTile == 0 && p.width / p.gridWidth % kTile == 0;
    if (p.type == Type::kFloat32) return launchPixelTile<float>(p, stream);
    if (!whole || p.kernelHeight != 3 || p.kernelWidth != 3 || p.outChannels > kOutputs)
        return launchPixelTile<__half>(p, stream);
    int64_t const tiles = int64_t{p.batch} * (p.height / kTile) * (p.width / kTile);
    return launch(tensorCore, tiles, 1, kWarps * kWarpSize, static_cast<size_t>(sharedBytes(p)), stream, p);
}

}  // namespace hyperseg

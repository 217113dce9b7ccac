// DPWInvertedResidual 3x3 in FP16 on the tensor cores: the two 1x1 convolutions, nine tenths of the operations, are
// matrix products summed in float; between them the depthwise runs on the CUDA cores, in float too. Hidden values are
// rounded to FP16 once after each activation, as between three separate operators, and never leave the block.
//
// Who owns what: a block owns a tile of one patch, or of 2 or 4 neighbouring patches that it computes in
// turn; a warp owns a strip of 8 columns and 2 * M_TILES rows of it, with
// all output channels' sums in registers. Hidden channels pass by in planes of 8, kPlanes at a time:
//   expand      all warps: hidden [window pixels, 8] = act(x [window pixels, Cin] * expand^T [Cin, 8] + bias1)
//   depthwise   a lane filters two neighbouring channels of a column, whose window rows it reads once; the two pixels
//               and two channels it then holds are its share of the next product's left side: no detour over memory
//   project     sums [2 rows x 8 columns, Cout] += filtered [16, 8] * project^T [8, Cout]
// Shared memory: whole rows of 8 values lie so that the 8 rows and 4 pairs a warp reads together hit 32 banks.
#pragma once

#include "../device.cuh"
#include "../mma.cuh"
#include "dpw_inverted_residual.h"

namespace hyperseg::tensor_core {

constexpr int kPlanes = 2;
constexpr int kTaps = 9;

// Rounds a row of values up to an odd number of 8s: rows then start 4 banks apart, modulo 32.
__host__ __device__ inline int rowStride(int values) { return (values + 7) / 8 * 8 + ((values + 7) / 8 % 2 ? 0 : 8); }
__host__ __device__ inline int roundUp8(int values) { return (values + 7) / 8 * 8; }

// TILE_ROWS x TILE_COLUMNS pixels, N_TILES * 8 output channels.
template <int TILE_ROWS, int TILE_COLUMNS, int M_TILES, int N_TILES>
struct Tile {
    static constexpr int kStripRows = 2 * M_TILES, kStripsAcross = TILE_COLUMNS / 8;
    static constexpr int kWarps = TILE_ROWS / kStripRows * kStripsAcross, kThreads = kWarps * kWarpSize;
    static constexpr int kWindowWidth = TILE_COLUMNS + 2, kWindow = (TILE_ROWS + 2) * kWindowWidth;
    // Rows of 16 window pixels that a warp expands: warp, warp + kWarps, ...
    static constexpr int kExpandTiles = (kWindow + 15) / 16, kWarpTiles = (kExpandTiles + kWarps - 1) / kWarps;
    static constexpr int kOutputs = N_TILES * 8;

    // x [kWindow, rowStride(Cin)], hidden [kPlanes, kWindow, 8], then for each of the block's patches expand
    // [hidden, rowStride(Cin)], project [kOutputs, rowStride(hidden)] and depthwise [9, hidden], all FP16; float bias1
    // [hidden] and bias2 [hidden]. In all of these the hidden channels are rounded up to whole 8s.
    static int64_t sharedBytes(DpwInvertedResidualParams const& p, int patches) {
        int64_t const hidden = roundUp8(p.hiddenChannels), stride = rowStride(p.inChannels);
        int64_t const theta = hidden * stride + kTaps * hidden + kOutputs * int64_t{rowStride(p.hiddenChannels)};
        return 2 * (kWindow * stride + kPlanes * kWindow * 8 + patches * theta) + 4 * 2 * hidden;
    }
};

struct Params {
    DpwInvertedResidualParams block;
    // 1, 2 or 4 patches that follow each other in the grid; weight is aligned to so many values, and the number of
    // patches is a multiple. A patch's weights lie Nh * Nw values apart, so that each read of one value costs a whole
    // sector of memory; the patches that are read together share that cost.
    int patchesPerBlock;
};

// FP16 values that are moved at once.
template <int COUNT>
struct alignas(2 * COUNT) Values {
    uint16_t bits[COUNT];
};

// A part of theta as a matrix: element (row, column) is value row * rowStep + column * columnStep.
struct Matrix {
    int rows, columns, rowStep, columnStep;
};

// to [PATCHES, rows, stride], of which the patches lie patchSize apart, = the part of each patch; zeros beyond it.
template <int PATCHES>
__device__ inline void stage(__half* to, int patchSize, int rows, int stride, __half const* theta, Matrix part,
                             int patches, int threads) {
#pragma unroll 4
    for (int i = threadIdx.x; i < rows * stride; i += threads) {
        int const row = i / stride, column = i % stride;
        Values<PATCHES> values = {};
        if (row < part.rows && column < part.columns)
            values = *reinterpret_cast<Values<PATCHES> const*>(
                theta + int64_t{row * part.rowStep + column * part.columnStep} * patches);
#pragma unroll
        for (int g = 0; g < PATCHES; ++g) to[g * patchSize + i] = __ushort_as_half(values.bits[g]);
    }
}

// x [N, Cin, H, W]; weight [N, K, Nh * Nw]; y [N, Cout, H, W]; blockIdx.x = (n, patches, tile).
template <int TILE_ROWS, int TILE_COLUMNS, int M_TILES, int N_TILES>
__global__ void __launch_bounds__(Tile<TILE_ROWS, TILE_COLUMNS, M_TILES, N_TILES>::kThreads,
                                  512 / Tile<TILE_ROWS, TILE_COLUMNS, M_TILES, N_TILES>::kThreads)
    dpwInvertedResidualTensorCore(Params const params) {
    DpwInvertedResidualParams const& p = params.block;
    using T = Tile<TILE_ROWS, TILE_COLUMNS, M_TILES, N_TILES>;
    int const hiddenSize = roundUp8(p.hiddenChannels), xStride = rowStride(p.inChannels);
    int const projectStride = rowStride(p.hiddenChannels), depth = roundUp8(p.inChannels);
    HYPERSEG_SHARED_MEMORY(sharedMemory);
    __half* x = reinterpret_cast<__half*>(sharedMemory);
    __half* hidden = x + T::kWindow * xStride;
    __half* theta = hidden + kPlanes * T::kWindow * 8;
    int const projectOffset = hiddenSize * xStride, depthwiseOffset = projectOffset + T::kOutputs * projectStride;
    int const patchSize = depthwiseOffset + kTaps * hiddenSize;
    float* bias1 = reinterpret_cast<float*>(theta + params.patchesPerBlock * patchSize);
    float* bias2 = bias1 + hiddenSize;

    int const patchHeight = p.height / p.gridHeight, patchWidth = p.width / p.gridWidth;
    int const patches = p.gridHeight * p.gridWidth, tilesAcross = patchWidth / TILE_COLUMNS;
    int const tiles = patchHeight / TILE_ROWS * tilesAcross, tile = static_cast<int>(blockIdx.x) % tiles;
    int const index = static_cast<int>(blockIdx.x) / tiles * params.patchesPerBlock;
    int const n = index / patches, firstPatch = index % patches;
    int64_t const plane = int64_t{p.height} * p.width;
    __half const* input = static_cast<__half const*>(p.x.skip) + int64_t{n} * p.inChannels * plane;
    __half* y = static_cast<__half*>(p.y) + int64_t{n} * p.outChannels * plane;

    auto const stagePart = [&](int offset, int rows, int stride, int64_t start, Matrix part) {
        __half const* from = static_cast<__half const*>(p.weight) + firstPatch +
                             (int64_t{n} * p.weightChannels + p.weightOffset + start) * patches;
        if (params.patchesPerBlock == 4)
            stage<4>(theta + offset, patchSize, rows, stride, from, part, patches, T::kThreads);
        else if (params.patchesPerBlock == 2)
            stage<2>(theta + offset, patchSize, rows, stride, from, part, patches, T::kThreads);
        else
            stage<1>(theta + offset, patchSize, rows, stride, from, part, patches, T::kThreads);
    };
    int64_t const depthwiseStart = int64_t{p.hiddenChannels} * p.inChannels;
    int64_t const projectStart = depthwiseStart + int64_t{p.hiddenChannels} * kTaps;
    stagePart(0, hiddenSize, xStride, 0, {p.hiddenChannels, p.inChannels, p.inChannels, 1});
    stagePart(depthwiseOffset, kTaps, hiddenSize, depthwiseStart, {kTaps, p.hiddenChannels, 1, kTaps});
    stagePart(projectOffset, T::kOutputs, projectStride, projectStart,
              {p.outChannels, p.hiddenChannels, p.hiddenChannels, 1});
    for (int h = threadIdx.x; h < hiddenSize; h += T::kThreads) {
        bias1[h] = h < p.hiddenChannels ? toFloat(static_cast<__half const*>(p.bias1)[h]) : 0.f;
        bias2[h] = h < p.hiddenChannels ? toFloat(static_cast<__half const*>(p.bias2)[h]) : 0.f;
    }

    int const warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize, group = lane / 4, pair = lane % 4 * 2;
    int const stripRow = warp / T::kStripsAcross * T::kStripRows, stripColumn = warp % T::kStripsAcross * 8;
    for (int g = 0; g < params.patchesPerBlock; ++g) {
        __half const *expand = theta + g * patchSize, *project = expand + projectOffset;
        __half const* depthwise = expand + depthwiseOffset;
        int const patch = firstPatch + g;
        int const firstRow = patch / p.gridWidth * patchHeight + tile / tilesAcross * TILE_ROWS;
        int const firstColumn = patch % p.gridWidth * patchWidth + tile % tilesAcross * TILE_COLUMNS;

        // The tile and its halo, 8 channels of a pixel at a time; zeros in the channels beyond the last. Nobody reads x
        // any more: the last thing that is done to a patch is to filter hidden values, behind a barrier.
#pragma unroll 1
        for (int i = threadIdx.x; i < T::kWindow * (depth / 8); i += T::kThreads) {
            int const pixel = i % T::kWindow, c = i / T::kWindow * 8;
            int64_t const offset = pixelOffset(firstRow + pixel / T::kWindowWidth - 1,
                                               firstColumn + pixel % T::kWindowWidth - 1, p.height, p.width, p.padMode);
            __half const* from = input + c * plane + offset;
            Values<8> values;
#pragma unroll
            for (int k = 0; k < 8; ++k)
                values.bits[k] = offset >= 0 && c + k < p.inChannels ? __half_as_ushort(from[k * plane]) : 0;
            *reinterpret_cast<Values<8>*>(x + pixel * xStride + c) = values;
        }

        float sum[M_TILES][N_TILES][4] = {};
        for (int first = 0; first < hiddenSize; first += kPlanes * 8) {
            int const planes = min(kPlanes, (hiddenSize - first) / 8);
            __syncthreads();  // staged, or the previous planes are no longer needed

            float value[T::kWarpTiles][kPlanes][4] = {};
#pragma unroll 2
            for (int k = 0; k < depth; k += 8) {
                uint32_t b[kPlanes];
#pragma unroll
                for (int s = 0; s < kPlanes; ++s)
                    b[s] = s < planes ? pairAt(expand + (first + s * 8 + group) * xStride + k + pair) : 0;
#pragma unroll
                for (int m = 0; m < T::kWarpTiles; ++m) {
                    // Pixels beyond the window are computed from the last one and not kept.
                    int const pixel = (warp + m * T::kWarps) * 16 + group;
                    uint32_t const a0 = pairAt(x + min(pixel, T::kWindow - 1) * xStride + k + pair);
                    uint32_t const a1 = pairAt(x + min(pixel + 8, T::kWindow - 1) * xStride + k + pair);
#pragma unroll
                    for (int s = 0; s < kPlanes; ++s) mma16x8x8(value[m][s], a0, a1, b[s]);
                }
            }
#pragma unroll
            for (int s = 0; s < kPlanes; ++s) {
                if (s >= planes) break;
                float const b0 = bias1[first + s * 8 + pair], b1 = bias1[first + s * 8 + pair + 1];
#pragma unroll
                for (int m = 0; m < T::kWarpTiles; ++m) {
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        int const pixel = (warp + m * T::kWarps) * 16 + group + half * 8;
                        if (pixel >= T::kWindow) continue;
                        *reinterpret_cast<uint32_t*>(hidden + (s * T::kWindow + pixel) * 8 + pair) =
                            packed(activate(value[m][s][2 * half] + b0, p.activation),
                                   activate(value[m][s][2 * half + 1] + b1, p.activation));
                    }
                }
            }
            __syncthreads();

            for (int s = 0; s < planes; ++s) {
                int const h = first + s * 8 + pair;
                float filtered[T::kStripRows][2];
#pragma unroll
                for (int r = 0; r < T::kStripRows; ++r) {
                    filtered[r][0] = bias2[h];
                    filtered[r][1] = bias2[h + 1];
                }
                __half const* column =
                    hidden + (s * T::kWindow + stripRow * T::kWindowWidth + stripColumn + group) * 8 + pair;
#pragma unroll
                for (int v = 0; v < 3; ++v) {
                    uint32_t tap[3];
#pragma unroll
                    for (int u = 0; u < 3; ++u) tap[u] = pairAt(depthwise + (u * 3 + v) * hiddenSize + h);
#pragma unroll
                    for (int row = 0; row < T::kStripRows + 2; ++row) {
                        uint32_t const under = pairAt(column + (row * T::kWindowWidth + v) * 8);
#pragma unroll
                        for (int u = 0; u < 3; ++u) {
                            int const r = row - u;
                            if (r < 0 || r >= T::kStripRows) continue;
                            filtered[r][0] += low(tap[u]) * low(under);
                            filtered[r][1] += high(tap[u]) * high(under);
                        }
                    }
                }
                uint32_t a[T::kStripRows];
#pragma unroll
                for (int r = 0; r < T::kStripRows; ++r)
                    a[r] = packed(activate(filtered[r][0], p.activation), activate(filtered[r][1], p.activation));
#pragma unroll
                for (int o = 0; o < N_TILES; ++o) {
                    uint32_t const b = pairAt(project + (o * 8 + group) * projectStride + h);
#pragma unroll
                    for (int m = 0; m < M_TILES; ++m) mma16x8x8(sum[m][o], a[2 * m], a[2 * m + 1], b);
                }
            }
        }

#pragma unroll
        for (int i = 0; i < N_TILES * 2; ++i) {
            int const o = i / 2 * 8 + pair + i % 2;
            if (o >= p.outChannels) continue;
            float const bias = toFloat(static_cast<__half const*>(p.bias3)[o]);
#pragma unroll
            for (int r = 0; r < T::kStripRows; ++r) {
                int const row = firstRow + stripRow + r, column = firstColumn + stripColumn + group;
                int64_t const offset = o * plane + int64_t{row} * p.width + column;
                float const identity = p.residual ? toFloat(input[offset]) : 0.f;
                y[offset] = __float2half(sum[r / 2][i / 2][r % 2 * 2 + i % 2] + bias + identity);
            }
        }
    }
}

}  // namespace hyperseg::tensor_core

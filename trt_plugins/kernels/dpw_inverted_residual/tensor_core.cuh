// DPWInvertedResidual 3x3 in FP16 on the tensor cores: the two 1x1 convolutions, nine tenths of the operations, are
// matrix products summed in float; between them the depthwise runs on the CUDA cores, two channels to an instruction,
// and rounds to FP16 after each of its nine products. Hidden values never leave the block.
//
// Who owns what: a block owns a tile of one patch, or of 2 or 4 neighbouring patches that it computes in turn; a warp
// owns a strip of 8 columns and 2 * M_TILES rows of it, with all output channels' sums in registers. Hidden channels
// pass by in planes of 8:
//   expand      all warps: hidden [window pixels, 8] = act(x [window pixels, Cin] * expand^T [Cin, 8] + bias1); a warp
//               expands the same pixels of every plane and keeps its share of x in registers
//   depthwise   a lane filters two neighbouring channels of a column, whose window rows it reads once; the two pixels
//               and two channels it then holds are its share of the next product's left side: no detour over memory
//   project     sums [2 rows x 8 columns, Cout] += filtered [16, 8] * project^T [8, Cout]
// Shared memory: whole rows of 8 values lie so that the 8 rows and 4 pairs a warp reads together hit 32 banks. What the
// kernel has most of is instructions (README.md), so indices are counted on, and values handled in pairs.
#pragma once

#include "../map.cuh"
#include "../mma.cuh"
#include "dpw_inverted_residual.h"

namespace hyperseg::tensor_core {

constexpr int kPlanes = 2;  // of hidden channels in memory: one is written while the other is read
constexpr int kTaps = 9;
constexpr int kResident = 5;  // eights of input channels that a warp keeps in registers

// Rounds a row of values up to an odd number of 8s: rows then start 4 banks apart, modulo 32.
__host__ __device__ inline int rowStride(int values) { return (values + 7) / 8 * 8 + ((values + 7) / 8 % 2 ? 0 : 8); }
__host__ __device__ inline int roundUp8(int values) { return (values + 7) / 8 * 8; }

// Channels of x as they lie in shared memory, in whole 8s: those of the previous level first, then the others in the
// map's own order; each kind of reading then fills its own 8s.
__host__ __device__ inline int previousDepth(Map const& x) { return roundUp8(x.previousChannels); }
__host__ __device__ inline int depthOf(Map const& x) {
    return previousDepth(x) + roundUp8(2 * x.positions + x.skipChannels);
}

// TILE_ROWS x TILE_COLUMNS pixels, N_TILES * 8 output channels.
template <int TILE_ROWS, int TILE_COLUMNS, int M_TILES, int N_TILES>
struct Tile {
    static constexpr int kStripRows = 2 * M_TILES, kStripsAcross = TILE_COLUMNS / 8;
    static constexpr int kWarps = TILE_ROWS / kStripRows * kStripsAcross, kThreads = kWarps * kWarpSize;
    static constexpr int kWindowWidth = TILE_COLUMNS + 2, kWindow = (TILE_ROWS + 2) * kWindowWidth;
    // Rows of 16 window pixels that a warp expands: warp, warp + kWarps, ...
    static constexpr int kExpandTiles = (kWindow + 15) / 16, kWarpTiles = (kExpandTiles + kWarps - 1) / kWarps;
    static constexpr int kOutputs = N_TILES * 8;
    // Of a multiprocessor at once: as many as its registers hold with hardly a spill (../ptxas.md).
    static constexpr int kBlocks = kThreads == 256 ? 2 : N_TILES < 3 ? 5 : 4;

    // x [kWindow, rowStride(depth)], hidden [kPlanes, kWindow, 8], then for each of the block's patches expand
    // [hidden, rowStride(depth)], project [kOutputs, rowStride(hidden)] and depthwise [9, hidden], all FP16; float
    // bias1 [hidden] and bias2 [hidden]. In all of these the hidden channels are rounded up to whole 8s.
    static int64_t sharedBytes(DpwInvertedResidualParams const& p, int patches) {
        int64_t const hidden = roundUp8(p.hiddenChannels), stride = rowStride(depthOf(p.x));
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

// to [PATCHES, rows, stride], of which the patches lie patchSize apart, = the values of theta that valueAt(row, column)
// counts for each patch, or 0 where it says -1.
template <int PATCHES, int THREADS, typename ValueAt>
__device__ inline void stage(__half* to, int patchSize, int rows, int stride, __half const* theta, int patches,
                             ValueAt const& valueAt) {
    // Counted on rather than divided: a division costs more than all else that is done to a value.
    int const rowsOn = THREADS / stride, columnsOn = THREADS % stride;
    int row = threadIdx.x / stride, column = threadIdx.x % stride;
#pragma unroll 4
    for (int i = threadIdx.x; i < rows * stride; i += THREADS) {
        int const from = valueAt(row, column);
        Values<PATCHES> values = {};
        if (from >= 0) values = *reinterpret_cast<Values<PATCHES> const*>(theta + int64_t{from} * patches);
#pragma unroll
        for (int g = 0; g < PATCHES; ++g) to[g * patchSize + i] = __ushort_as_half(values.bits[g]);
        row += rowsOn;
        column += columnsOn;
        if (column >= stride) {
            column -= stride;
            ++row;
        }
    }
}

// x [kWindow, xStride] from column previousDepth on = coordinates and skip map of the tile and its halo, 8 channels of
// a pixel at a time. Padded pixels and the channels beyond the last are zeros.
template <typename T, bool LEVEL>
__device__ inline void stageSkip(__half* x, int xStride, DpwInvertedResidualParams const& p, int n, Pixel first) {
    int const firstSkip = LEVEL ? 2 * p.x.positions : 0, channels = firstSkip + p.x.skipChannels;
    int64_t const plane = int64_t{p.height} * p.width;
    __half const* skip = static_cast<__half const*>(p.x.skip) + (int64_t{n} * p.x.skipChannels - firstSkip) * plane;
    for (int i = threadIdx.x; i < T::kWindow; i += T::kThreads) {
        Pixel const pixel = pixelAt(first.row + i / T::kWindowWidth - 1, first.column + i % T::kWindowWidth - 1,
                                    p.height, p.width, p.padMode);
        __half const* from = skip + int64_t{pixel.row} * p.width + pixel.column;
        __half* to = x + i * xStride + (LEVEL ? previousDepth(p.x) : 0);
        int const last = pixel.row >= 0 ? channels : 0;  // of those that are not zeros
#pragma unroll 2
        for (int c = 0; c < channels; c += 8) {
            Values<8> values;
#pragma unroll
            for (int k = 0; k < 8; ++k, from += plane)
                values.bits[k] = c + k >= firstSkip && c + k < last ? __half_as_ushort(*from) : 0;
            if (LEVEL && c < firstSkip && pixel.row >= 0) {
                values.bits[0] = __half_as_ushort(__float2half(coordinate(pixel.column, p.width)));
                values.bits[1] = __half_as_ushort(__float2half(coordinate(pixel.row, p.height)));
            }
            *reinterpret_cast<Values<8>*>(to + c) = values;
        }
    }
}

// Two neighbouring rows (or columns) of a window, the first of them odd, and the two cells of the previous map between
// which both lie: pixel 0 is nearer to cell 0, pixel 1 to cell 1. The map's last pixel can only be pixel 0 and is its
// cell 1; the map's first can only be pixel 1 and is its cell 0.
struct Pair {
    int pixels[2], cells[2];
    bool atEnd[2];  // of the map
};

// The pair from `first` on, -1 or an odd number, of `size` pixels; a pixel of zeros (-1) stays one.
__device__ inline Pair pairOf(int first, int size, PadMode padMode) {
    int const cells = size / 2, cell = min(max((first - 1) / 2, 0), max(cells - 2, 0));
    Pair pair{{}, {cell, min(cell + 1, cells - 1)}, {}};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        pair.pixels[i] = pixelAt(first + i, 0, size, 1, padMode).row;
        pair.atEnd[i] = pair.pixels[i] == (i == 0 ? size - 1 : 0);
    }
    return pair;
}

// Pixel i of a pair whose cells have these values; as in map.cuh, nothing but its cell counts at an end of the map.
__device__ inline float between(Pair const& pair, int i, float first, float second) {
    return betweenCells((i == 0) != pair.atEnd[i] ? first : second, i == 0 ? second : first);
}

// x up to column previousDepth = the previous map, enlarged: a thread takes 4 channels of the four pixels that lie
// between the same four cells, so that four reads give four values. The tile begins in an even row and column.
template <typename T>
__device__ inline void stagePrevious(__half* x, int xStride, DpwInvertedResidualParams const& p, int n, Pixel first) {
    constexpr int kAcross = T::kWindowWidth / 2, kFours = T::kWindow / 4;
    int const width = p.width / 2, plane = p.height / 2 * width;
    __half const* previous = static_cast<__half const*>(p.x.previous) + int64_t{n} * p.x.previousChannels * plane;
#pragma unroll 1
    for (int item = threadIdx.x; item < kFours * (previousDepth(p.x) / 4); item += T::kThreads) {
        int const four = item % kFours, c = item / kFours * 4;
        Pair const rows = pairOf(first.row - 1 + four / kAcross * 2, p.height, p.padMode);
        Pair const columns = pairOf(first.column - 1 + four % kAcross * 2, p.width, p.padMode);
        int const upper = rows.cells[0] * width, lower = rows.cells[1] * width;
        __half const* from = previous + int64_t{c} * plane;
        uint32_t values[4][2];  // of the four pixels
#pragma unroll
        for (int k = 0; k < 4; k += 2) {
            float cell[2][4];  // of two channels
#pragma unroll
            for (int j = 0; j < 2; ++j, from += plane) {
                bool const exists = c + k + j < p.x.previousChannels;
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    cell[j][i] = exists ? toFloat(from[(i < 2 ? upper : lower) + columns.cells[i % 2]]) : 0.f;
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                float value[2];
#pragma unroll
                for (int j = 0; j < 2; ++j)
                    value[j] = between(rows, i / 2, between(columns, i % 2, cell[j][0], cell[j][1]),
                                       between(columns, i % 2, cell[j][2], cell[j][3]));
                bool const inside = rows.pixels[i / 2] >= 0 && columns.pixels[i % 2] >= 0;
                values[i][k / 2] = inside ? packed(value[0], value[1]) : 0;
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int const pixel = (four / kAcross * 2 + i / 2) * T::kWindowWidth + four % kAcross * 2 + i % 2;
            uint32_t* to = reinterpret_cast<uint32_t*>(x + pixel * xStride + c);
            to[0] = values[i][0];
            to[1] = values[i][1];
        }
    }
}

// x [N, Cin, H, W]; weight [N, K, Nh * Nw]; y [N, Cout, H, W]; blockIdx.x = (n, patches, tile).
template <int TILE_ROWS, int TILE_COLUMNS, int M_TILES, int N_TILES, bool LEVEL = false>
__global__ void __launch_bounds__(Tile<TILE_ROWS, TILE_COLUMNS, M_TILES, N_TILES>::kThreads,
                                  Tile<TILE_ROWS, TILE_COLUMNS, M_TILES, N_TILES>::kBlocks)
    dpwInvertedResidualTensorCore(Params const params) {
    DpwInvertedResidualParams const& p = params.block;
    using T = Tile<TILE_ROWS, TILE_COLUMNS, M_TILES, N_TILES>;
    int const depth = LEVEL ? depthOf(p.x) : roundUp8(p.inChannels), xStride = rowStride(depth);
    int const hiddenSize = roundUp8(p.hiddenChannels), projectStride = rowStride(p.hiddenChannels);
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
    __half* y = static_cast<__half*>(p.y) + int64_t{n} * p.outChannels * plane;

    auto const stagePart = [&](int offset, int rows, int stride, auto const& valueAt) {
        __half const* from = static_cast<__half const*>(p.weight) + firstPatch +
                             (int64_t{n} * p.weightChannels + p.weightOffset) * patches;
        if (params.patchesPerBlock == 4)
            stage<4, T::kThreads>(theta + offset, patchSize, rows, stride, from, patches, valueAt);
        else if (params.patchesPerBlock == 2)
            stage<2, T::kThreads>(theta + offset, patchSize, rows, stride, from, patches, valueAt);
        else
            stage<1, T::kThreads>(theta + offset, patchSize, rows, stride, from, patches, valueAt);
    };
    int const depthwiseStart = p.hiddenChannels * p.inChannels;
    int const projectStart = depthwiseStart + p.hiddenChannels * kTaps;
    stagePart(0, hiddenSize, xStride, [&](int h, int column) {
        int c = column, last = p.inChannels;
        if (LEVEL) {  // previous channels are the last of the map and the first in shared memory
            int const others = p.inChannels - p.x.previousChannels, depth = previousDepth(p.x);
            c = column < depth ? others + column : column - depth;
            last = column < depth ? p.inChannels : others;
        }
        return h < p.hiddenChannels && c < last ? h * p.inChannels + c : -1;
    });
    stagePart(depthwiseOffset, kTaps, hiddenSize,
              [&](int tap, int h) { return h < p.hiddenChannels ? depthwiseStart + h * kTaps + tap : -1; });
    stagePart(projectOffset, T::kOutputs, projectStride, [&](int o, int h) {
        return o < p.outChannels && h < p.hiddenChannels ? projectStart + o * p.hiddenChannels + h : -1;
    });
    for (int h = threadIdx.x; h < hiddenSize; h += T::kThreads) {
        bias1[h] = h < p.hiddenChannels ? toFloat(static_cast<__half const*>(p.bias1)[h]) : 0.f;
        bias2[h] = h < p.hiddenChannels ? toFloat(static_cast<__half const*>(p.bias2)[h]) : 0.f;
    }

    int const warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize, group = lane / 4, pair = lane % 4 * 2;
    int const firstPixel = warp * 16 + group;  // of those that the lane expands
    int const stripRow = warp / T::kStripsAcross * T::kStripRows, stripColumn = warp % T::kStripsAcross * 8;
    // The activation as bounds of pairs of values.
    uint32_t const low = p.activation == Activation::kNone ? 0xfc00fc00 : 0;
    uint32_t const high = p.activation == Activation::kRelu6 ? 0x46004600 : 0x7c007c00;
    for (int g = 0; g < params.patchesPerBlock; ++g) {
        __half const *expand = theta + g * patchSize, *project = expand + projectOffset;
        __half const* depthwise = expand + depthwiseOffset;
        int const patch = firstPatch + g;
        int const firstRow = patch / p.gridWidth * patchHeight + tile / tilesAcross * TILE_ROWS;
        int const firstColumn = patch % p.gridWidth * patchWidth + tile % tilesAcross * TILE_COLUMNS;

        // Nobody reads x any more: the last thing that is done to a patch is to filter hidden values, behind a barrier.
        stageSkip<T, LEVEL>(x, xStride, p, n, {firstRow, firstColumn});
        if constexpr (LEVEL) stagePrevious<T>(x, xStride, p, n, {firstRow, firstColumn});

        float sum[M_TILES][N_TILES][4] = {};
        uint32_t a[T::kWarpTiles][kResident][2];  // the warp's share of x, read once a patch where it has few channels
        __syncthreads();                          // staged
        for (int first = 0; first < hiddenSize; first += 8) {
            // Who is ahead writes the other plane; who is behind has passed the barrier below in the turn before.
            __half* plane8 = hidden + first / 8 % kPlanes * T::kWindow * 8;
            int const h = first + pair;
            float value[T::kWarpTiles][4];
#pragma unroll
            for (int m = 0; m < T::kWarpTiles; ++m) {
                value[m][0] = value[m][2] = bias1[h];
                value[m][1] = value[m][3] = bias1[h + 1];
            }
#pragma unroll 1
            for (int start = 0; start < depth; start += kResident * 8) {
                if (first == 0 || depth > kResident * 8) {
#pragma unroll
                    for (int m = 0; m < T::kWarpTiles; ++m) {
                        // Pixels beyond the window are computed from the last one and not kept.
                        int const pixel = firstPixel + m * T::kWarps * 16;
                        __half const* upper = x + min(pixel, T::kWindow - 1) * xStride + start + pair;
                        __half const* lower = x + min(pixel + 8, T::kWindow - 1) * xStride + start + pair;
#pragma unroll
                        for (int k = 0; k < kResident; ++k) {
                            if (start + k * 8 >= depth) break;
                            a[m][k][0] = pairAt(upper + k * 8);
                            a[m][k][1] = pairAt(lower + k * 8);
                        }
                    }
                }
                __half const* weights = expand + (first + group) * xStride + start + pair;
#pragma unroll
                for (int k = 0; k < kResident; ++k) {
                    if (start + k * 8 >= depth) break;
                    uint32_t const b = pairAt(weights + k * 8);
#pragma unroll
                    for (int m = 0; m < T::kWarpTiles; ++m) mma16x8x8(value[m], a[m][k][0], a[m][k][1], b);
                }
            }
            uint32_t pixels[T::kWarpTiles * 2];
#pragma unroll
            for (int i = 0; i < T::kWarpTiles * 2; ++i)
                pixels[i] = bounded(packed(value[i / 2][i % 2 * 2], value[i / 2][i % 2 * 2 + 1]), low, high);
#pragma unroll
            for (int i = 0; i < T::kWarpTiles * 2; ++i) {
                int const more = i / 2 * T::kWarps * 16 + i % 2 * 8;  // than the warp's first pixel
                if (more + T::kWarps * 16 - 8 <= T::kWindow || firstPixel + more < T::kWindow)
                    *reinterpret_cast<uint32_t*>(plane8 + (firstPixel + more) * 8 + pair) = pixels[i];
            }
            __syncthreads();

            uint32_t filtered[T::kStripRows];
#pragma unroll
            for (int r = 0; r < T::kStripRows; ++r) filtered[r] = packed(bias2[h], bias2[h + 1]);
            __half const* column = plane8 + (stripRow * T::kWindowWidth + stripColumn + group) * 8 + pair;
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
                        if (r >= 0 && r < T::kStripRows) filtered[r] = multiplyAdd(tap[u], under, filtered[r]);
                    }
                }
            }
#pragma unroll
            for (int r = 0; r < T::kStripRows; ++r) filtered[r] = bounded(filtered[r], low, high);
#pragma unroll
            for (int o = 0; o < N_TILES; ++o) {
                uint32_t const b = pairAt(project + (o * 8 + group) * projectStride + h);
#pragma unroll
                for (int m = 0; m < M_TILES; ++m) mma16x8x8(sum[m][o], filtered[2 * m], filtered[2 * m + 1], b);
            }
        }

        int64_t const corner = int64_t{firstRow + stripRow} * p.width + firstColumn + stripColumn + group;
#pragma unroll
        for (int i = 0; i < N_TILES * 2; ++i) {
            int const o = i / 2 * 8 + pair + i % 2;
            if (o >= p.outChannels) continue;
            float const bias = toFloat(static_cast<__half const*>(p.bias3)[o]);
            __half* to = y + o * plane + corner;
#pragma unroll
            for (int r = 0; r < T::kStripRows; ++r, to += p.width) {
                float value = sum[r / 2][i / 2][r % 2 * 2 + i % 2] + bias;
                if (!LEVEL && p.residual)  // x has y's shape
                    value += toFloat(static_cast<__half const*>(p.x.skip)[to - static_cast<__half*>(p.y)]);
                *to = __float2half(value);
            }
        }
    }
}

}  // namespace hyperseg::tensor_core

// LabelHead at scale 2. Twice as large, each pixel of the labels lies between four pixels of the logits, and the four
// labels that lie between the same four form a cell: cell (i, j) has rows 2i - 1 and 2i, columns 2j - 1 and 2j, and the
// logits of rows i - 1 and i, columns j - 1 and j. There are (h + 1) x (w + 1) cells; those at the border are cut.
//
// A thread owns kCells cells, one below the other, and keeps the best of their labels in registers while the classes
// pass by: a class costs it kCells + 1 rows of two logits, and each row is enlarged in width once for the labels above
// and below it. Neighbouring threads own neighbouring cells, so that the reads are contiguous and what is read twice
// comes from L1.
#pragma once

#include "best.cuh"
#include "label_head.h"

namespace hyperseg::label_head {

constexpr int kCells = 2;

// A cell's first logit, in a row or column of `size`: the one before its second. The label at the map's edge takes all
// of the edge's logit and 0 times its neighbour, as PyTorch does (a neighbour that is infinite makes it NaN): there the
// neighbour is the first.
__device__ inline int firstOf(int cell, int size) { return cell > 0 ? cell - 1 : min(1, size - 1); }
__device__ inline int secondOf(int cell, int size) { return min(cell, size - 1); }
// The second logit's share in a cell's second label; in the first it is always a quarter.
__device__ inline float shareOf(int cell) { return cell > 0 ? 0.75f : 1.f; }

// logits [N, C, h, w]; labels [N, 2h, 2w]; blockIdx.x and threadIdx.x number (n, strip of kCells rows, column).
template <typename T>
__global__ void __launch_bounds__(kThreads, 4) labelHeadScale2(LabelHeadParams const p) {
    int const strips = p.height / kCells + 1, columns = p.width + 1;
    int const index = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
    int const n = index / (strips * columns), column = index % columns, firstRow = index / columns % strips * kCells;
    if (n >= p.batch) return;

    int const plane = p.height * p.width, left = firstOf(column, p.width), right = secondOf(column, p.width);
    int row[kCells + 1];
    row[0] = firstOf(firstRow, p.height) * p.width;
#pragma unroll
    for (int i = 0; i < kCells; ++i) row[i + 1] = secondOf(firstRow + i, p.height) * p.width;
    T const* logits = static_cast<T const*>(p.logits) + int64_t{n} * p.classes * plane;
    float const columnShare = shareOf(column);
    Best best[2 * kCells][2];

#pragma unroll 2
    for (int label = 0; label < p.classes; ++label, logits += plane) {
        float wide[kCells + 1][2];
#pragma unroll
        for (int i = 0; i <= kCells; ++i) {
            float const a = toFloat(logits[row[i] + left]), b = toFloat(logits[row[i] + right]);
            wide[i][0] = 0.75f * a + 0.25f * b;
            wide[i][1] = (1.f - columnShare) * a + columnShare * b;
        }
#pragma unroll
        for (int i = 0; i < kCells; ++i) {
            float const rowShare = shareOf(firstRow + i);
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                best[2 * i][j].challenge(0.75f * wide[i][j] + 0.25f * wide[i + 1][j], label);
                best[2 * i + 1][j].challenge((1.f - rowShare) * wide[i][j] + rowShare * wide[i + 1][j], label);
            }
        }
    }

    T* labels = static_cast<T*>(p.labels) + int64_t{n} * 4 * plane;
#pragma unroll
    for (int i = 0; i < 2 * kCells; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            int const y = 2 * firstRow - 1 + i, x = 2 * column - 1 + j;
            if (y >= 0 && y < 2 * p.height && x >= 0 && x < 2 * p.width)
                labels[int64_t{y} * 2 * p.width + x] = fromFloat<T>(static_cast<float>(best[i][j].label));
        }
    }
}

}  // namespace hyperseg::label_head

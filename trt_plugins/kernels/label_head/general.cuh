// LabelHead at any scale: a thread owns a label, neighbouring threads neighbouring labels, which share their logits.
#pragma once

#include "best.cuh"
#include "label_head.h"

namespace hyperseg::label_head {

// The two logits of a row or column between which a label lies, and the second's share.
struct Taps {
    int first, second;
    float share;
};

// The label's place is (position + 0.5) / scale - 0.5, not below 0: in whole numbers, of 2 * scale to a logit, so that
// no rounding moves it.
__device__ inline Taps tapsOf(int position, int size, int scale) {
    unsigned const steps = 2u * scale, shifted = 2u * position + 1u;
    unsigned const place = shifted > static_cast<unsigned>(scale) ? shifted - scale : 0u;
    int const first = static_cast<int>(place / steps);
    return {first, min(first + 1, size - 1), static_cast<float>(place % steps) / static_cast<float>(steps)};
}

// logits [N, C, h, w]; labels [N, h * scale, w * scale]; blockIdx.x and threadIdx.x number the labels of all samples.
template <typename T>
__global__ void __launch_bounds__(kThreads) labelHeadGeneral(LabelHeadParams const p) {
    int const index = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
    int const height = p.height * p.scale, width = p.width * p.scale, n = index / (height * width);
    if (n >= p.batch) return;
    Taps const rows = tapsOf(index / width % height, p.height, p.scale);
    Taps const columns = tapsOf(index % width, p.width, p.scale);
    int const plane = p.height * p.width;
    T const* upper = static_cast<T const*>(p.logits) + int64_t{n} * p.classes * plane + rows.first * p.width;
    T const* lower = upper + (rows.second - rows.first) * p.width;
    Best best;
#pragma unroll 4
    for (int label = 0; label < p.classes; ++label, upper += plane, lower += plane) {
        float const above =
            (1.f - columns.share) * toFloat(upper[columns.first]) + columns.share * toFloat(upper[columns.second]);
        float const below =
            (1.f - columns.share) * toFloat(lower[columns.first]) + columns.share * toFloat(lower[columns.second]);
        best.challenge((1.f - rows.share) * above + rows.share * below, label);
    }
    static_cast<T*>(p.labels)[index] = fromFloat<T>(static_cast<float>(best.label));
}

}  // namespace hyperseg::label_head

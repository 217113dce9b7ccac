// LabelHead at scale 1: nothing is enlarged. A thread owns a pixel, neighbouring threads neighbouring pixels, so that
// every logit is read once, in contiguous pieces.
#pragma once

#include "best.cuh"
#include "label_head.h"

namespace hyperseg::label_head {

// logits [N, C, h, w]; labels [N, h, w]; blockIdx.x and threadIdx.x number the pixels of all samples.
template <typename T>
__global__ void __launch_bounds__(kThreads) labelHeadScale1(LabelHeadParams const p) {
    int const pixel = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x, plane = p.height * p.width;
    int const n = pixel / plane;
    if (n >= p.batch) return;
    T const* logits = static_cast<T const*>(p.logits) + int64_t{n} * p.classes * plane + pixel % plane;
    Best best;
#pragma unroll 4
    for (int label = 0; label < p.classes; ++label, logits += plane) best.challenge(toFloat(*logits), label);
    static_cast<T*>(p.labels)[pixel] = fromFloat<T>(static_cast<float>(best.label));
}

}  // namespace hyperseg::label_head

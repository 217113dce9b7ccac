// What the kernels share: the running best of a label over the classes.
#pragma once

#include <cmath>

#include "../device.cuh"

namespace hyperseg::label_head {

constexpr int kThreads = 256;

struct Best {
    float value = -INFINITY;
    int label = 0;

    // As torch.argmax: of equal values the first counts, and a NaN is larger than any number, the first NaN the
    // largest.
    __device__ void challenge(float other, int otherLabel) {
        bool const wins = !(other <= value) && value == value;
        value = wins ? other : value;
        label = wins ? otherLabel : label;
    }
};

}  // namespace hyperseg::label_head

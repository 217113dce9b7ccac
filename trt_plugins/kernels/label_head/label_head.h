// LabelHead: enlarges the logits, bilinear, and takes each pixel's largest; the enlarged maps are never stored.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../types.h"

namespace hyperseg {

constexpr int32_t kMaxClasses = 256;  // FP16 holds each label exactly, and so does the uint8 that is made of it
constexpr int32_t kMaxScale = 64;

// Both tensors are linear (row-major, contiguous), on the device, and of one type. There are at most 2^31 - 2^16
// labels; the logits may be more.
struct LabelHeadParams {
    Type type;
    void const* logits;  // [batch, classes, height, width]
    void* labels;        // [batch, height * scale, width * scale]: the class as a number of the tensors' type

    int32_t batch, classes, height, width;  // classes up to kMaxClasses; pixels of the logits
    int32_t scale;                          // 1 to kMaxScale
};

// Queues the work on the stream and returns at once: no allocation, no synchronisation, fit for graph capture. Returns
// cudaErrorInvalidValue, and launches nothing, if the parameters contradict what is said above, otherwise what the
// launch returned.
cudaError_t launchLabelHead(LabelHeadParams const& params, cudaStream_t stream);

}  // namespace hyperseg

// LabelHead: enlarges the logits, bilinear, and takes each pixel's largest; the enlarged maps are never stored.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../types.h"

namespace hyperseg {

// Both tensors are linear (row-major, contiguous), on the device, and of one type.
struct LabelHeadParams {
    Type type;
    void const* logits;  // [batch, classes, height, width]
    void* labels;        // [batch, height * scale, width * scale]: the class as a number of the tensors' type

    int32_t batch, classes, height, width;  // at most 256 classes, so that FP16 holds each exactly; pixels
    int32_t scale;                          // 1 to 64
};

// Queues the work on the stream and returns at once: no allocation, no synchronisation, fit for graph capture. Returns
// cudaErrorInvalidValue, and launches nothing, if the parameters contradict what is said above, otherwise what the
// launch returned.
cudaError_t launchLabelHead(LabelHeadParams const& params, cudaStream_t stream);

}  // namespace hyperseg

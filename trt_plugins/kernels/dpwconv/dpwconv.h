// DPWConv: every patch of a map is convolved with its own weights.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../map.h"
#include "../types.h"

namespace hyperseg {

// All tensors are linear (row-major, contiguous), on the device, and of one type. batch * height * width is at most
// 2^31 - 2^16; the tensors themselves may be larger.
struct DpwConvParams {
    Type type;
    Map x;               // [batch, inChannels, height, width]
    void const* weight;  // [batch, weightChannels, gridHeight, gridWidth]; K = weightChannels
    void const* bias;    // [outChannels], the same for all patches; nullptr for none
    void* y;             // [batch, outChannels, height, width]; overlaps no input

    int32_t batch, inChannels, outChannels, height, width;  // channels, pixels
    int32_t weightChannels, gridHeight, gridWidth;          // values a patch, patches
    int32_t kernelHeight, kernelWidth, group;               // odd pixels; group divides both channel counts
    int32_t weightOffset;                                   // first of K that is read, as
                                                            // [outChannels, inChannels / group, kh, kw]
    PadMode padMode;  // a reflected map is larger than the halo (kernel / 2) in both directions
    Activation activation;
};

// Queues the convolution on the stream and returns at once: no allocation, no synchronisation, fit for graph capture.
// Returns cudaErrorInvalidValue, and launches nothing, if the parameters contradict what is said above (the grid must
// divide the map, and K hold the weights from weightOffset on), otherwise what the launch returned.
cudaError_t launchDpwConv(DpwConvParams const& params, cudaStream_t stream);

}  // namespace hyperseg

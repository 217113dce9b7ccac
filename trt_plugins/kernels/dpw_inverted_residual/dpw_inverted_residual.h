// DPWInvertedResidual: expand 1x1, depthwise, project 1x1, each patch with its own weights, in one kernel.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../map.h"
#include "../types.h"

namespace hyperseg {

// y = project(act(depthwise(act(expand(x) + bias1)) + bias2)) + bias3, plus x if residual.
// All tensors are linear (row-major, contiguous), on the device, and of one type. batch * height * width is at most
// 2^31 - 2^16; the tensors themselves may be larger.
struct DpwInvertedResidualParams {
    Type type;
    Map x;               // [batch, inChannels, height, width]
    void const* weight;  // [batch, weightChannels, gridHeight, gridWidth]; K = weightChannels
    void const* bias1;   // [hiddenChannels]; none of the three may be nullptr
    void const* bias2;   // [hiddenChannels]
    void const* bias3;   // [outChannels]
    void* y;             // [batch, outChannels, height, width]; overlaps no input

    int32_t batch, inChannels, hiddenChannels, outChannels, height, width;  // channels, pixels
    int32_t weightChannels, gridHeight, gridWidth;                          // values a patch, patches
    int32_t kernelHeight, kernelWidth;                                      // of the depthwise; odd pixels
    int32_t weightOffset;                                                   // first of K that is read, as
                                                                            // [expand (hidden, in) | depthwise (hidden,
                                                                            // kh, kw) | project (out, hidden)]
    PadMode padMode;  // of x; a reflected map is larger than the halo (kernel / 2) in both directions
    Activation activation;
    bool residual;  // needs inChannels == outChannels and a stored map
};

// Queues the block on the stream and returns at once: no allocation, no synchronisation, fit for graph capture.
// Returns cudaErrorInvalidValue, and launches nothing, if the parameters contradict what is said above (the grid must
// divide the map, and K hold the weights from weightOffset on), otherwise what the launch returned.
cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const& params, cudaStream_t stream);

}  // namespace hyperseg

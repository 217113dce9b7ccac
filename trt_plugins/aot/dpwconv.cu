// DPWConv and DPWConvLevel for one node of a network, as a kernel that an engine holds itself.
//
// The node's numbers are literals: runtime/backends/tensorrt/aot/choice.py chooses the kernel and defines NODE_*.
// TensorRT passes the node's inputs, in its order, then the batch, then the output.
#include "../kernels/device.cuh"
// Turns the kernels that follow into functions.
#include "kernels_as_functions.h"
//
#include "../kernels/dpwconv/direct.cuh"
#include "../kernels/dpwconv/lane_per_patch.cuh"
#include "../kernels/dpwconv/pixel_tile.cuh"
// From here on a kernel is a kernel again.
#include "kernels_as_kernels.h"

extern "C" __global__ void __launch_bounds__(NODE_BOUNDS)
    dpwconv(NODE_DTYPE const* skip,
#if NODE_PREVIOUS_CHANNELS
            NODE_DTYPE const* previous,
#endif
            NODE_DTYPE const* weight, NODE_DTYPE const* bias, int batch, NODE_DTYPE* y) {
#if !NODE_PREVIOUS_CHANNELS
    NODE_DTYPE const* previous = nullptr;
#endif
    hyperseg::DpwConvParams node{};
    node.type = sizeof(NODE_DTYPE) == 2 ? hyperseg::Type::kFloat16 : hyperseg::Type::kFloat32;
    node.x = {skip, previous, NODE_SKIP_CHANNELS, NODE_PREVIOUS_CHANNELS, NODE_POSITIONS};
    node.weight = weight;
    node.bias = bias;
    node.y = y;
    node.batch = batch;
    node.inChannels = 2 * NODE_POSITIONS + NODE_SKIP_CHANNELS + NODE_PREVIOUS_CHANNELS;
    node.outChannels = NODE_OUT_CHANNELS;
    node.height = NODE_HEIGHT;
    node.width = NODE_WIDTH;
    node.weightChannels = NODE_WEIGHT_CHANNELS;
    node.gridHeight = NODE_GRID_HEIGHT;
    node.gridWidth = NODE_GRID_WIDTH;
    node.kernelHeight = NODE_KERNEL_HEIGHT;
    node.kernelWidth = NODE_KERNEL_WIDTH;
    node.group = NODE_GROUP;
    node.weightOffset = NODE_WEIGHT_OFFSET;
    node.padMode = static_cast<hyperseg::PadMode>(NODE_PAD_MODE);
    node.activation = static_cast<hyperseg::Activation>(NODE_ACTIVATION);
    NODE_CALL;
}

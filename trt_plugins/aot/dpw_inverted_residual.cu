// DPWInvertedResidual and DPWInvertedResidualLevel for one node of a network, as a kernel that an engine holds itself.
//
// The node's numbers are literals: runtime/backends/tensorrt/aot/choice.py chooses the kernel and defines NODE_*.
// TensorRT passes the node's inputs, in its order, then the batch, then the output.
#include "../kernels/device.cuh"
#include "../kernels/mma.cuh"
// Turns the kernels that follow into functions.
#include "kernels_as_functions.h"
//
#include "../kernels/dpw_inverted_residual/direct.cuh"
#include "../kernels/dpw_inverted_residual/pixel_tile.cuh"
#include "../kernels/dpw_inverted_residual/tensor_core.cuh"
// From here on a kernel is a kernel again.
#include "kernels_as_kernels.h"

extern "C" __global__ void __launch_bounds__(NODE_BOUNDS)
    dpw_inverted_residual(NODE_DTYPE const* skip,
#if NODE_PREVIOUS_CHANNELS
                          NODE_DTYPE const* previous,
#endif
                          NODE_DTYPE const* weight, NODE_DTYPE const* bias1, NODE_DTYPE const* bias2,
                          NODE_DTYPE const* bias3, int batch, NODE_DTYPE* y) {
#if !NODE_PREVIOUS_CHANNELS
    NODE_DTYPE const* previous = nullptr;
#endif
    hyperseg::DpwInvertedResidualParams node{};
    node.type = sizeof(NODE_DTYPE) == 2 ? hyperseg::Type::kFloat16 : hyperseg::Type::kFloat32;
    node.x = {skip, previous, NODE_SKIP_CHANNELS, NODE_PREVIOUS_CHANNELS, NODE_POSITIONS};
    node.weight = weight;
    node.bias1 = bias1;
    node.bias2 = bias2;
    node.bias3 = bias3;
    node.y = y;
    node.batch = batch;
    node.inChannels = 2 * NODE_POSITIONS + NODE_SKIP_CHANNELS + NODE_PREVIOUS_CHANNELS;
    node.hiddenChannels = NODE_HIDDEN_CHANNELS;
    node.outChannels = NODE_OUT_CHANNELS;
    node.height = NODE_HEIGHT;
    node.width = NODE_WIDTH;
    node.weightChannels = NODE_WEIGHT_CHANNELS;
    node.gridHeight = NODE_GRID_HEIGHT;
    node.gridWidth = NODE_GRID_WIDTH;
    node.kernelHeight = NODE_KERNEL_HEIGHT;
    node.kernelWidth = NODE_KERNEL_WIDTH;
    node.weightOffset = NODE_WEIGHT_OFFSET;
    node.padMode = static_cast<hyperseg::PadMode>(NODE_PAD_MODE);
    node.activation = static_cast<hyperseg::Activation>(NODE_ACTIVATION);
    node.residual = NODE_RESIDUAL != 0;
    NODE_CALL;
}

// LabelHead for one node of a network, as a kernel that an engine holds itself.
//
// The node's numbers are literals: runtime/backends/tensorrt/aot/choice.py chooses the kernel and defines NODE_*.
// TensorRT passes the logits, the batch and the labels.
#include "../kernels/device.cuh"
// Turns the kernels that follow into functions.
#include "kernels_as_functions.h"
//
#include "../kernels/label_head/general.cuh"
#include "../kernels/label_head/scale1.cuh"
#include "../kernels/label_head/scale2.cuh"
// From here on a kernel is a kernel again.
#include "kernels_as_kernels.h"

extern "C" __global__ void __launch_bounds__(NODE_BOUNDS)
    label_head(NODE_DTYPE const* logits, int batch, NODE_DTYPE* labels) {
    hyperseg::LabelHeadParams node{};
    node.type = sizeof(NODE_DTYPE) == 2 ? hyperseg::Type::kFloat16 : hyperseg::Type::kFloat32;
    node.logits = logits;
    node.labels = labels;
    node.batch = batch;
    node.classes = NODE_CLASSES;
    node.height = NODE_HEIGHT;
    node.width = NODE_WIDTH;
    node.scale = NODE_SCALE;
    NODE_CALL;
}

// Step 1, the naive kernel: a thread an output value. It computes the hidden values under its nine taps itself, and
// shares nothing with the other channels of its pixel. The kernel is the library's general path, which is right for
// every shape and need not be fast; it is included, not copied.
//
// Cost, cityscapes-m level 4 (34 -> 68 -> 19 channels, 512 patches of 16x16 pixels, FP16): a value needs
// 68 * (9 * (34 + 1) + 1) = 21,488 multiply-adds, all values together 53,513 million, 97 times the least. Only input,
// theta and output cross device memory, 18.2 MB.
//
// Lesson: least traffic and least code are worth nothing while every hidden value is computed 9 * 19 = 171 times.
#include <algorithm>

#include "../../kernels/dpw_inverted_residual/direct.cuh"
#include "../../kernels/launch.h"

namespace hyperseg {

template <typename T>
static cudaError_t launchTyped(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    using namespace direct;
    int64_t const blocks = ceilDiv(int64_t{p.height} * p.width, kThreads);
    int64_t const outputs = std::min<int64_t>(p.outChannels, kMaxGridYZ);
    return launch(dpwInvertedResidualDirect<T>, blocks, outputs, kThreads, 0, stream, p);
}

cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    return p.type == Type::kFloat16 ? launchTyped<__half>(p, stream) : launchTyped<float>(p, stream);
}

}  // namespace hyperseg

// Step 1, the naive kernel: a thread an output value, neighbouring threads neighbouring pixels. The kernel is the
// library's general path for all shapes; it is included, not copied.
//
// Cost, cityscapes-m level 0 (82 -> 64 channels, 512 patches of one pixel, FP16): 2.7 million multiply-adds and 5.5 MB,
// nearly all of it weights that are used once; both the least there is. 128 blocks hold 32,768 threads, each with a sum
// of 82 products in a row.
//
// Lesson: with patches of a pixel even the naive threads read whole sectors and no weight twice, so what is
// left to cost time is waiting: few reads are on their way at once.
#include <algorithm>

#include "../../kernels/dpwconv/direct.cuh"
#include "../../kernels/launch.h"

namespace hyperseg {

template <typename T>
static cudaError_t launchTyped(DpwConvParams const& p, cudaStream_t stream) {
    using namespace direct;
    int64_t const blocks = ceilDiv(int64_t{p.height} * p.width, kThreads);
    return launch(dpwconvDirect<T>, blocks, std::min<int64_t>(p.outChannels, kMaxGridYZ), kThreads, 0, stream, p);
}

cudaError_t launchDpwConv(DpwConvParams const& p, cudaStream_t stream) {
    return p.type == Type::kFloat16 ? launchTyped<__half>(p, stream) : launchTyped<float>(p, stream);
}

}  // namespace hyperseg

// LabelHead: checks the parameters and chooses the kernel by scale.
#include "../launch.h"
#include "general.cuh"
#include "label_head.h"
#include "scale1.cuh"
#include "scale2.cuh"

namespace hyperseg {
namespace {

using namespace label_head;

bool valid(LabelHeadParams const& p) {
    bool const sizes = p.batch > 0 && p.classes > 0 && p.height > 0 && p.width > 0;
    if (!p.logits || !p.labels || !sizes || p.classes > kMaxClasses || p.scale < 1 || p.scale > kMaxScale) return false;
    if (p.type != Type::kFloat32 && p.type != Type::kFloat16) return false;
    int64_t const pixels = boundedProduct(p.batch, p.height, p.scale, p.width, p.scale);
    return pixels > 0 && pixels <= kMaxPixels;
}

template <typename T>
cudaError_t launchTyped(LabelHeadParams const& p, cudaStream_t stream) {
    auto const start = [&](void (*kernel)(LabelHeadParams), int64_t threads) {
        return launch(kernel, ceilDiv(threads, kThreads), 1, kThreads, 0, stream, p);
    };
    if (p.scale == 1) return start(labelHeadScale1<T>, int64_t{p.batch} * p.height * p.width);
    if (p.scale == 2) return start(labelHeadScale2<T>, p.batch * (int64_t{p.height} / kCells + 1) * (p.width + 1));
    return start(labelHeadGeneral<T>, int64_t{p.batch} * p.height * p.scale * p.width * p.scale);
}

}  // namespace

cudaError_t launchLabelHead(LabelHeadParams const& params, cudaStream_t stream) {
    if (!valid(params)) return cudaErrorInvalidValue;
    return params.type == Type::kFloat16 ? launchTyped<__half>(params, stream) : launchTyped<float>(params, stream);
}

}  // namespace hyperseg

// Step 1: two kernels, one an operator, as an engine runs them without the plugin: the enlarged logits are stored and
// read again. A thread of the first owns a value, one of the second a label.
//
// Cost, cityscapes-m (19 classes, 256x512 -> 512x1024, FP16): six multiply-adds a value, 59.8 million in all; 5.0 MB of
// logits read, 19.9 MB of enlarged ones written and read again, 1.0 MB of labels written: 45.9 MB.
//
// Lesson: the largest map of the network is one that nobody wants.
#include "../../kernels/label_head/general.cuh"
#include "../../kernels/label_head/label_head.h"
#include "../../kernels/launch.h"

namespace hyperseg {

using namespace label_head;

struct Params {
    LabelHeadParams head;
    void* enlarged;  // [N, C, h * scale, w * scale]
};

// blockIdx.x and threadIdx.x number the values of a map; blockIdx.y is (n, class).
template <typename T>
__global__ void __launch_bounds__(kThreads) enlarge(Params const params) {
    LabelHeadParams const& p = params.head;
    int const height = p.height * p.scale, width = p.width * p.scale;
    int const index = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
    if (index >= height * width) return;
    Taps const rows = tapsOf(index / width, p.height, p.scale), columns = tapsOf(index % width, p.width, p.scale);
    T const* logits = static_cast<T const*>(p.logits) + int64_t{blockIdx.y} * p.height * p.width;
    T const *upper = logits + rows.first * p.width, *lower = logits + rows.second * p.width;
    float const above =
        (1.f - columns.share) * toFloat(upper[columns.first]) + columns.share * toFloat(upper[columns.second]);
    float const below =
        (1.f - columns.share) * toFloat(lower[columns.first]) + columns.share * toFloat(lower[columns.second]);
    T* enlarged = static_cast<T*>(params.enlarged) + int64_t{blockIdx.y} * height * width;
    enlarged[index] = fromFloat<T>((1.f - rows.share) * above + rows.share * below);
}

// blockIdx.x and threadIdx.x number the labels of all samples.
template <typename T>
__global__ void __launch_bounds__(kThreads) argMax(Params const params) {
    LabelHeadParams const& p = params.head;
    int const plane = p.height * p.scale * p.width * p.scale;
    int const index = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x, n = index / plane;
    if (n >= p.batch) return;
    T const* enlarged = static_cast<T const*>(params.enlarged) + int64_t{n} * p.classes * plane + index % plane;
    Best best;
    for (int label = 0; label < p.classes; ++label, enlarged += plane) best.challenge(toFloat(*enlarged), label);
    static_cast<T*>(p.labels)[index] = fromFloat<T>(static_cast<float>(best.label));
}

// Device memory that the step keeps, grown where a shape needs more; the call that grows it must not be captured.
static cudaError_t grow(void*& memory, size_t& held, size_t bytes) {
    if (bytes <= held) return cudaSuccess;
    held = 0;
    cudaError_t error = cudaFree(memory);
    if (!error) error = cudaMalloc(&memory, bytes);
    if (!error) held = bytes;
    return error;
}

template <typename T>
static cudaError_t launchTyped(LabelHeadParams const& p, cudaStream_t stream) {
    static void* enlarged = nullptr;
    static size_t held = 0;
    int64_t const labels = int64_t{p.height} * p.scale * p.width * p.scale, maps = int64_t{p.batch} * p.classes;
    cudaError_t error = grow(enlarged, held, sizeof(T) * maps * labels);
    Params const params{p, enlarged};
    if (!error) error = launch(enlarge<T>, ceilDiv(labels, kThreads), maps, kThreads, 0, stream, params);
    if (!error) error = launch(argMax<T>, ceilDiv(p.batch * labels, kThreads), 1, kThreads, 0, stream, params);
    return error;
}

cudaError_t launchLabelHead(LabelHeadParams const& p, cudaStream_t stream) {
    return p.type == Type::kFloat16 ? launchTyped<__half>(p, stream) : launchTyped<float>(p, stream);
}

}  // namespace hyperseg

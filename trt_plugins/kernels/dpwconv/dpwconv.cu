// DPWConv: checks the parameters and chooses the kernel by shape.
#include <algorithm>

#include "../launch.h"
#include "direct.cuh"
#include "dpwconv.h"
#include "lane_per_patch.cuh"
#include "pixel_tile.cuh"

namespace hyperseg {
namespace {

bool valid(DpwConvParams const& p) {
    if (!p.weight || !p.y || p.group < 1 || p.inChannels % p.group || p.outChannels % p.group) return false;
    return validMapAndWeights(p, boundedProduct(p.outChannels, p.inChannels / p.group, p.kernelHeight, p.kernelWidth));
}

template <typename T, int ROWS, int COLS>
cudaError_t launchLanePerPatch(DpwConvParams const& p, cudaStream_t stream) {
    using namespace lane_per_patch;
    int64_t const patches = int64_t{p.batch} * p.gridHeight * p.gridWidth;
    auto const kernel = p.x.stored() ? dpwconvLanePerPatch<T, ROWS, COLS> : dpwconvLanePerPatch<T, ROWS, COLS, true>;
    return launch(kernel, ceilDiv(patches, kWarpSize), ceilDiv(p.outChannels, kOutputs), kThreads,
                  sharedBytes(ROWS * COLS), stream, p);
}

template <typename T>
cudaError_t launchPixelTile(DpwConvParams const& p, cudaStream_t stream) {
    using namespace pixel_tile;
    int64_t const pixels = int64_t{p.height / p.gridHeight} * (p.width / p.gridWidth);
    int64_t const blocks = int64_t{p.batch} * p.gridHeight * p.gridWidth * ceilDiv(pixels, kThreads);
    auto const kernel = p.x.stored() ? dpwconvPixelTile<T> : dpwconvPixelTile<T, true>;
    return launch(kernel, blocks, ceilDiv(p.outChannels, kOutputs), kThreads, kSharedBytes, stream, p);
}

template <typename T>
cudaError_t launchDirect(DpwConvParams const& p, cudaStream_t stream) {
    using namespace direct;
    int64_t const blocks = ceilDiv(int64_t{p.height} * p.width, kThreads);
    auto const kernel = p.x.stored() ? dpwconvDirect<T> : dpwconvDirect<T, true>;
    return launch(kernel, blocks, std::min<int64_t>(p.outChannels, kMaxGridYZ), kThreads, 0, stream, p);
}

template <typename T>
cudaError_t launchTyped(DpwConvParams const& p, cudaStream_t stream) {
    int const rows = p.height / p.gridHeight, columns = p.width / p.gridWidth;
    bool const pointwise = p.kernelHeight == 1 && p.kernelWidth == 1 && p.group == 1;
    // The fast paths put output channels in the grid's y.
    if (!pointwise || p.outChannels > kMaxGridYZ) return launchDirect<T>(p, stream);
    bool const aligned = reinterpret_cast<uintptr_t>(p.x.skip) % 16 == 0;
    if (aligned && rows == 1 && columns == 1) return launchLanePerPatch<T, 1, 1>(p, stream);
    if (aligned && rows == 2 && columns == 2) return launchLanePerPatch<T, 2, 2>(p, stream);
    if (aligned && rows == 4 && columns == 4) return launchLanePerPatch<T, 4, 4>(p, stream);
    return launchPixelTile<T>(p, stream);
}

}  // namespace

cudaError_t launchDpwConv(DpwConvParams const& params, cudaStream_t stream) {
    if (!valid(params)) return cudaErrorInvalidValue;
    return params.type == Type::kFloat16 ? launchTyped<__half>(params, stream) : launchTyped<float>(params, stream);
}

}  // namespace hyperseg

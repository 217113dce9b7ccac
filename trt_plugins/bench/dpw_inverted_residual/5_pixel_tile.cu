// Step 5: eight hidden channels at a time. What changed: a value of x, once loaded, is multiplied with the weights of
// eight hidden channels, and the weights lie in shared memory as floats, in the order in which they are used, four to a
// load. The kernel is the library's for FP32, and for FP16 where the tensor cores' does not serve; it is included, not
// copied.
//
// Cost, cityscapes-m level 4 (34 -> 68 -> 19 channels, 512 patches of 16x16 pixels, FP16): 34 * 72 * 324 + 68 * (9 +
// 24) * 256 multiply-adds a patch, 700 million in all, 1.3 times the least; 18.2 MB of device memory, the least;
// 12.2 KB of shared memory a block, 27 barriers. Three loads serve eight multiply-adds of the expand: with all else,
// 0.55 accesses a multiply-add instead of 1.7.
//
// Lesson: registers are what a load is divided by. Eight channels times 24 outputs is what they hold without spills.
#include <algorithm>

#include "../../kernels/dpw_inverted_residual/pixel_tile.cuh"
#include "../../kernels/launch.h"

namespace hyperseg {

template <typename T>
static cudaError_t launchTyped(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    using namespace pixel_tile;
    int const patchHeight = p.height / p.gridHeight, patchWidth = p.width / p.gridWidth;
    pixel_tile::Params const params{p, std::min(patchHeight, 16), std::min(patchWidth, 16)};
    int64_t const tiles = ceilDiv(patchHeight, params.tileHeight) * ceilDiv(patchWidth, params.tileWidth);
    return launch(dpwInvertedResidualPixelTile<T>, int64_t{p.batch} * p.gridHeight * p.gridWidth * tiles,
                  ceilDiv(p.outChannels, kOutputs), kMaxThreads, static_cast<size_t>(sharedBytes(params)), stream,
                  params);
}

cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    return p.type == Type::kFloat16 ? launchTyped<__half>(p, stream) : launchTyped<float>(p, stream);
}

}  // namespace hyperseg

// DPWInvertedResidual: checks the parameters and chooses the kernel by type and shape.
#include <algorithm>

#include "../launch.h"
#include "direct.cuh"
#include "dpw_inverted_residual.h"
#include "pixel_tile.cuh"
#include "tensor_core.cuh"

namespace hyperseg {
namespace {

bool valid(DpwInvertedResidualParams const& p) {
    if (!p.weight || !p.bias1 || !p.bias2 || !p.bias3 || !p.y || p.hiddenChannels < 1) return false;
    if (p.residual && (p.inChannels != p.outChannels || !p.x.stored())) return false;
    int64_t const expand = boundedProduct(p.hiddenChannels, p.inChannels);
    int64_t const depthwise = boundedProduct(p.hiddenChannels, p.kernelHeight, p.kernelWidth);
    int64_t const project = boundedProduct(p.outChannels, p.hiddenChannels);
    if (expand < 0 || depthwise < 0 || project < 0) return false;
    return validMapAndWeights(p, expand + depthwise + project);
}

template <typename T>
cudaError_t launchDirect(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    using namespace direct;
    int64_t const blocks = ceilDiv(int64_t{p.height} * p.width, kThreads);
    int64_t const outputs = std::min<int64_t>(p.outChannels, kMaxGridYZ);
    auto const kernel = p.x.stored() ? dpwInvertedResidualDirect<T> : dpwInvertedResidualDirect<T, true>;
    return launch(kernel, blocks, outputs, kThreads, 0, stream, p);
}

// The largest tile whose window fits in shared memory; a tile of one pixel that does not leaves only the direct kernel.
template <typename T>
cudaError_t launchPixelTile(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    using namespace pixel_tile;
    int const patchHeight = p.height / p.gridHeight, patchWidth = p.width / p.gridWidth;
    pixel_tile::Params params{p, std::min(patchHeight, 16), std::min(patchWidth, 16)};
    while (sharedBytes(params) > static_cast<int64_t>(kMaxSharedBytes) && params.tileHeight * params.tileWidth > 1)
        (params.tileHeight >= params.tileWidth ? params.tileHeight : params.tileWidth) /= 2;
    int64_t const bytes = sharedBytes(params), outputBlocks = ceilDiv(p.outChannels, kOutputs);
    if (bytes > static_cast<int64_t>(kMaxSharedBytes) || outputBlocks > kMaxGridYZ) return launchDirect<T>(p, stream);

    int const window = (params.tileHeight + p.kernelHeight - 1) * (params.tileWidth + p.kernelWidth - 1);
    int const threads = std::min(kMaxThreads, static_cast<int>(ceilDiv(window, kWarpSize)) * kWarpSize);
    int64_t const tiles = ceilDiv(patchHeight, params.tileHeight) * ceilDiv(patchWidth, params.tileWidth);
    auto const kernel = p.x.stored() ? dpwInvertedResidualPixelTile<T> : dpwInvertedResidualPixelTile<T, true>;
    return launch(kernel, p.batch * int64_t{p.gridHeight} * p.gridWidth * tiles, outputBlocks, threads,
                  static_cast<size_t>(bytes), stream, params);
}

struct Device {
    int capability, multiprocessors, grantedBytes;  // 87 for sm_87; shared memory a block may ask for
};

cudaError_t currentDevice(Device& device) {
    int id = 0, major = 0, minor = 0;
    cudaError_t error = cudaGetDevice(&id);
    if (!error) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, id);
    if (!error) error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, id);
    if (!error) error = cudaDeviceGetAttribute(&device.multiprocessors, cudaDevAttrMultiProcessorCount, id);
    if (!error) error = cudaDeviceGetAttribute(&device.grantedBytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, id);
    device.capability = 10 * major + minor;
    return error;
}

// A tile of SIZE x SIZE pixels serves patches that it divides, if its window fits in shared memory.
template <int SIZE, int N_TILES>
bool servedByTensorCore(DpwInvertedResidualParams const& p) {
    constexpr int kMaxChannels = 1024;  // more do not fit anyway, and sizes stay in 32 bits
    bool const divided = p.height / p.gridHeight % SIZE == 0 && p.width / p.gridWidth % SIZE == 0;
    bool const few = p.inChannels <= kMaxChannels && p.hiddenChannels <= kMaxChannels;
    using Tile = tensor_core::Tile<SIZE, SIZE, SIZE / 8, N_TILES>;
    return divided && few && Tile::sharedBytes(p, 1) <= static_cast<int64_t>(kMaxSharedBytes);
}

// As many patches a block as leave three blocks for two multiprocessors, and fit in the memory that the device grants.
template <int SIZE, int N_TILES>
cudaError_t launchTensorCore(DpwInvertedResidualParams const& p, Device const& device, cudaStream_t stream) {
    using Tile = tensor_core::Tile<SIZE, SIZE, SIZE / 8, N_TILES>;
    int64_t const patches = int64_t{p.gridHeight} * p.gridWidth;
    int64_t const blocks = int64_t{p.batch} * (p.height / SIZE) * (p.width / SIZE);
    int together = 4;
    for (; together > 1; together /= 2) {
        bool const aligned = reinterpret_cast<uintptr_t>(p.weight) % (2 * together) == 0 && patches % together == 0;
        bool const enough = 2 * (blocks / together) >= 3 * device.multiprocessors;
        if (aligned && enough && Tile::sharedBytes(p, together) <= device.grantedBytes) break;
    }
    using namespace tensor_core;
    auto const kernel = p.x.stored() ? dpwInvertedResidualTensorCore<SIZE, SIZE, SIZE / 8, N_TILES>
                                     : dpwInvertedResidualTensorCore<SIZE, SIZE, SIZE / 8, N_TILES, true>;
    auto const bytes = static_cast<size_t>(Tile::sharedBytes(p, together));
    return launch(kernel, blocks / together, 1, Tile::kThreads, bytes, stream, tensor_core::Params{p, together});
}

template <int N_TILES>
cudaError_t launchHalf(DpwInvertedResidualParams const& p, cudaStream_t stream) {
    Device device;
    if (cudaError_t const error = currentDevice(device)) return error;
    if (device.capability < 75) return launchPixelTile<__half>(p, stream);
    if (servedByTensorCore<16, N_TILES>(p)) return launchTensorCore<16, N_TILES>(p, device, stream);
    if (servedByTensorCore<8, N_TILES>(p)) return launchTensorCore<8, N_TILES>(p, device, stream);
    return launchPixelTile<__half>(p, stream);
}

}  // namespace

cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const& params, cudaStream_t stream) {
    if (!valid(params)) return cudaErrorInvalidValue;
    if (params.type == Type::kFloat32) return launchPixelTile<float>(params, stream);
    if (params.kernelHeight != 3 || params.kernelWidth != 3) return launchPixelTile<__half>(params, stream);
    switch (ceilDiv(params.outChannels, 8)) {
        case 1:
            return launchHalf<1>(params, stream);
        case 2:
            return launchHalf<2>(params, stream);
        case 3:
            return launchHalf<3>(params, stream);
        case 4:
            return launchHalf<4>(params, stream);
        default:
            return launchPixelTile<__half>(params, stream);
    }
}

}  // namespace hyperseg

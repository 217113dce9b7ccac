// What the launchers share on the host: checking a map and its weights, and launching.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "map.h"
#include "types.h"

namespace hyperseg {

constexpr int64_t kMaxGridX = INT32_MAX;
constexpr int64_t kMaxGridYZ = 65535;
constexpr int64_t kMaxPixels = INT32_MAX - 65535;  // of a batch, leaving room to round up to whole blocks
constexpr int64_t kMaxKernel = 32767;              // pixels, in each direction
constexpr size_t kMaxSharedBytes = 48 * 1024;      // what every device grants without being asked

constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Product of sizes, or -1 beyond 2^31: no weight tensor has that many values a patch.
template <typename... Sizes>
int64_t boundedProduct(Sizes... sizes) {
    int64_t product = 1;
    for (int64_t size : {static_cast<int64_t>(sizes)...}) {
        if (size < 0 || product < 0) return -1;
        product *= size;
        if (product > INT32_MAX) product = -1;
    }
    return product;
}

// True if every part of the map is there and the channels add up; the previous map is half as large as the sizes say.
template <typename Params>
bool validParts(Params const& p) {
    Map const& x = p.x;
    bool const none = !x.previous && x.previousChannels == 0;
    bool const half = x.previous && x.previousChannels > 0 && p.height % 2 == 0 && p.width % 2 == 0;
    bool const positions = x.positions == 0 || x.positions == 1;
    return x.skip && x.skipChannels > 0 && (none || half) && positions && x.channels() == p.inChannels;
}

// True if the map is whole and cut into equal patches, the kernel is odd, the border can be mirrored, the type is one
// we have and K holds `theta` values from weightOffset on. Params are those of a patch-wise operator; theta < 0 stands
// for too many.
template <typename Params>
bool validMapAndWeights(Params const& p, int64_t theta) {
    if (!validParts(p)) return false;
    bool const sizes = p.batch > 0 && p.inChannels > 0 && p.outChannels > 0 && p.height > 0 && p.width > 0 &&
                       p.weightChannels > 0 && p.gridHeight > 0 && p.gridWidth > 0;
    bool const kernel = p.kernelHeight > 0 && p.kernelWidth > 0 && p.kernelHeight % 2 == 1 && p.kernelWidth % 2 == 1;
    if (!sizes || !kernel || p.height % p.gridHeight || p.width % p.gridWidth) return false;
    // Numbers of patches and pixels, and mirrored indices, stay in 32 bits; offsets of values need 64.
    if (boundedProduct(p.batch, p.height, p.width) < 0 || boundedProduct(p.batch, p.height, p.width) > kMaxPixels)
        return false;
    if (p.kernelHeight > kMaxKernel || p.kernelWidth > kMaxKernel) return false;
    bool const mirrored = p.kernelHeight / 2 < p.height && p.kernelWidth / 2 < p.width;
    if (p.padMode == PadMode::kReflect ? !mirrored : p.padMode != PadMode::kConstant) return false;
    if (p.type != Type::kFloat32 && p.type != Type::kFloat16) return false;
    return p.weightOffset >= 0 && theta >= 0 && theta <= int64_t{p.weightChannels} - p.weightOffset;
}

// Queues kernel(params) and returns what the launch returned; a grid beyond the device's limits is not launched.
template <typename Params>
cudaError_t launch(void (*kernel)(Params), int64_t gridX, int64_t gridY, int threads, size_t sharedBytes,
                   cudaStream_t stream, Params params) {
    if (gridX > kMaxGridX || gridY > kMaxGridYZ) return cudaErrorInvalidConfiguration;
    if (sharedBytes > kMaxSharedBytes) {
        // The attribute is the kernel's, not the launch's: with this launch's own need, a thread that launches a
        // smaller shape could take the memory from one that is about to launch a larger.
        int device = 0, most = 0;
        cudaError_t error = cudaGetDevice(&device);
        if (!error) error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
        if (!error) error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
        if (error) return error;
    }
    dim3 const grid(static_cast<unsigned>(gridX), static_cast<unsigned>(gridY));
    void* arguments[] = {&params};
    return cudaLaunchKernel(kernel, grid, dim3(static_cast<unsigned>(threads)), arguments, sharedBytes, stream);
}

}  // namespace hyperseg

// Takes the place of trt_plugins/cpu's header of this name where a test asks what a launcher launches, and on what GPU.
#pragma once
#define cudaDeviceGetAttribute attributeOfCpu
#define cudaLaunchKernel launchOnCpu
#include "cpu.h"
#undef cudaDeviceGetAttribute
#undef cudaLaunchKernel

#include <string>

namespace recording {

inline int multiprocessors = 0, grantedBytes = 0;
inline bool runs = false;  // else launches are only written down
inline std::string launched;
std::string nameOf(void const* function);

}  // namespace recording

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    if (attribute == cudaDevAttrMultiProcessorCount) return *value = recording::multiprocessors, cudaSuccess;
    if (attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin) return *value = recording::grantedBytes, cudaSuccess;
    return attributeOfCpu(value, attribute, device);
}

template <typename Params>
cudaError_t cudaLaunchKernel(void (*kernel)(Params), dim3 grid, dim3 block, void** arguments, size_t sharedBytes,
                             cudaStream_t stream) {
    recording::launched = recording::nameOf(reinterpret_cast<void const*>(kernel)) + "|" + std::to_string(grid.x) +
                          "|" + std::to_string(grid.y) + "|" + std::to_string(block.x) + "|" +
                          std::to_string(sharedBytes);
    bool const simple = grid.z == 1 && block.y == 1 && block.z == 1;
    if (!simple) recording::launched = "a launch in more dimensions than the tests know";
    return recording::runs ? launchOnCpu(kernel, grid, block, arguments, sharedBytes, stream) : cudaSuccess;
}

// Runs CUDA kernels on the CPU, from their own source: enough of CUDA's language and runtime for g++ to compile them.
//
// Every thread of a block is a fibre (ucontext) that runs until it waits for others; blocks run one after the other.
// What a GPU leaves open is provoked: threads run in forward, reverse or shuffled order, which finds missing barriers,
// and shared memory starts full of NaN, which finds reads of what nobody wrote. A barrier that some thread of its
// group never reaches aborts with a message instead of hanging.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#define HYPERSEG_ON_CPU
#ifndef __CUDA_ARCH__
#define __CUDA_ARCH__ 870  // whose code the kernels run, where it differs
#endif
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define HYPERSEG_SHARED_MEMORY(name) unsigned char* name = hyperseg::cpu::sharedMemory()

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
    float x, y, z, w;
};

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
};
using cudaStream_t = void*;

namespace hyperseg::cpu {

enum class Order { kForward, kReverse, kShuffled };

// The order of the threads in all following launches; `seed` is for kShuffled.
void setOrder(Order order, unsigned seed);

// Runs `thread(argument)` for every thread of the grid.
void run(dim3 grid, dim3 block, size_t sharedBytes, void (*thread)(void*), void* argument);

unsigned char* sharedMemory();
void blockBarrier();
// Shows the other lanes of the warp 64 bytes, and returns what all 32 showed: [32][64]. It is valid until the lane's
// next exchange. All lanes of the warp must take part.
unsigned char const* warpExchange(void const* mine);

struct Position {
    dim3 thread, block, gridSize, blockSize;
};
Position const& here();

}  // namespace hyperseg::cpu

#define threadIdx (hyperseg::cpu::here().thread)
#define blockIdx (hyperseg::cpu::here().block)
#define gridDim (hyperseg::cpu::here().gridSize)
#define blockDim (hyperseg::cpu::here().blockSize)

inline void __syncthreads() { hyperseg::cpu::blockBarrier(); }
inline void __syncwarp() {
    unsigned char const nothing[64] = {};
    hyperseg::cpu::warpExchange(nothing);
}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

// A device of one multiprocessor that grants a block 64 KB of shared memory, as the smallest of those served does. The
// attributes' values stand for themselves.
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 1,
    cudaDevAttrComputeCapabilityMinor = 5,
    cudaDevAttrComputeCapabilityMajor = 7,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 64 * 1024,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    return *value = attribute, cudaSuccess;
}
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int bytes) {
    return bytes <= cudaDevAttrMaxSharedMemoryPerBlockOptin ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t cudaMalloc(void** memory, size_t bytes) {
    *memory = std::malloc(bytes);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFree(void* memory) { return std::free(memory), cudaSuccess; }

template <typename Params>
cudaError_t cudaLaunchKernel(void (*kernel)(Params), dim3 grid, dim3 block, void** arguments, size_t sharedBytes,
                             cudaStream_t) {
    struct Call {
        void (*kernel)(Params);
        Params const* params;
    } call{kernel, static_cast<Params const*>(arguments[0])};
    auto const thread = [](void* c) { static_cast<Call*>(c)->kernel(*static_cast<Call*>(c)->params); };
    hyperseg::cpu::run(grid, block, sharedBytes, thread, &call);
    return cudaSuccess;
}

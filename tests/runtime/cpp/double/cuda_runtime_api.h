// Takes the place of CUDA's header of this name. Work waits in its stream until somebody synchronises, and memory
// begins as garbage, so that a forgotten synchronisation or copy shows. The GPU's clock counts pieces of work, a
// millisecond each. The variable CUDA_DOUBLE says what goes wrong, or that the GPU is integrated.
#pragma once

#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

using Work = std::vector<std::function<void()>>;

inline bool cudaDouble(char const* mode) {
    char const* const given = std::getenv("CUDA_DOUBLE");
    return given && std::string(given) == mode;
}

enum cudaError_t {
    cudaSuccess,
    cudaErrorMemoryAllocation,
    cudaErrorInsufficientDriver,
    cudaErrorNoDevice,
    cudaErrorNoKernel,
    cudaErrorInvalidated
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
constexpr unsigned cudaStreamNonBlocking = 1, cudaHostAllocDefault = 0, cudaHostAllocMapped = 2;
constexpr int cudaStreamCaptureModeThreadLocal = 1;

struct CUstream_st {
    Work waiting, captured;
    bool capturing = false, broken = false;
    void add(std::function<void()> work) { (capturing ? captured : waiting).push_back(std::move(work)); }
};
struct CUevent_st {
    int64_t time = 0;
    CUstream_st* stream = nullptr;
};
struct CUgraph_st {
    Work work;
};
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
using cudaGraph_t = CUgraph_st*;
struct CUgraphExec_st : CUgraph_st {};
using cudaGraphExec_t = CUgraphExec_st*;
struct cudaDeviceProp {
    char name[32];
    int major, minor, integrated, canMapHostMemory;
};

inline std::set<void*> onHost, onDevice;
inline int64_t gpuTime = 0;

inline char const* cudaGetErrorString(cudaError_t error) {
    char const* const names[] = {"no error",
                                 "out of memory",
                                 "CUDA driver version is insufficient for CUDA runtime version",
                                 "no CUDA-capable device is detected",
                                 "no kernel image is available for execution on the device",
                                 "operation failed due to a previous error during capture"};
    return names[error];
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaDouble("no driver") ? cudaErrorInsufficientDriver : cudaSuccess; }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    bool const integrated = cudaDouble("integrated");
    *properties = {"Double", 9, 0, integrated, integrated};
    return cudaSuccess;
}

inline cudaError_t allocateDouble(void** memory, size_t bytes, std::set<void*>& where) {
    if (cudaDouble("no memory")) return cudaErrorMemoryAllocation;
    *memory = std::memset(std::malloc(bytes), 0xa5, bytes);
    where.insert(*memory);
    return cudaSuccess;
}
inline cudaError_t freeDouble(void* memory, std::set<void*>& where) {
    assert(!memory || where.erase(memory));
    std::free(memory);
    return cudaDouble("no GPU") ? cudaErrorNoDevice : cudaSuccess;
}
inline cudaError_t cudaMalloc(void** memory, size_t bytes) { return allocateDouble(memory, bytes, onDevice); }
inline cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned flags) {
    assert((flags == cudaHostAllocMapped) == cudaDouble("integrated"));
    return allocateDouble(memory, bytes, onHost);
}
inline cudaError_t cudaFree(void* memory) { return freeDouble(memory, onDevice); }
inline cudaError_t cudaFreeHost(void* memory) { return freeDouble(memory, onHost); }
inline cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
    assert(onHost.count(host));
    *device = host;
    return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = new CUstream_st;
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    assert(!stream->capturing);
    for (auto const& work : stream->waiting) work();
    stream->waiting.clear();
    return cudaDouble("no kernel") ? cudaErrorNoKernel : cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, void const* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    bool const up = kind == cudaMemcpyHostToDevice;
    assert((up ? onDevice : onHost).count(to) && (up ? onHost : onDevice).count(const_cast<void*>(from)));
    stream->add([=] { ++gpuTime, std::memcpy(to, from, bytes); });
    return cudaSuccess;
}

inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
    *event = new CUevent_st;
    return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->stream = stream;
    stream->add([=] { event->time = gpuTime; });
    return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) { return cudaStreamSynchronize(event->stream); }
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
    *ms = static_cast<float>(end->time - start->time);
    return cudaSuccess;
}

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int) {
    assert(stream->waiting.empty() && !stream->capturing);
    stream->capturing = true;
    return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    stream->capturing = false;
    bool const broken = std::exchange(stream->broken, false);
    *graph = broken ? nullptr : new CUgraph_st{stream->captured};
    stream->captured.clear();
    return broken ? cudaErrorInvalidated : cudaSuccess;
}
inline cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
    *exec = new CUgraphExec_st{*graph};
    return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    for (auto const& work : exec->work) stream->add(work);
    return cudaSuccess;
}

// The CUDA runtime: errors as exceptions, what it hands out as objects, work recorded as a graph.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <string>
#include <type_traits>

namespace hyperseg {

// Throws UserError unless error is cudaSuccess; doing completes "CUDA failed while ...".
void checkCuda(cudaError_t error, char const* doing);

struct Gpu {
    std::string name;
    std::string computeCapability;  // such as "8.7"
    bool integrated;                // shares its memory with the CPU, as on a Jetson
};

// GPU number 0; the variable CUDA_VISIBLE_DEVICES chooses. Throws UserError where none can be used.
Gpu openGpu();

template <auto Destroy>
struct CudaDeleter {
    template <typename Handle>
    void operator()(Handle* handle) const {
        Destroy(handle);  // an error has been reported by the call that it came from
    }
};
using DeviceMemory = std::unique_ptr<void, CudaDeleter<cudaFree>>;
using PageLocked = std::unique_ptr<void, CudaDeleter<cudaFreeHost>>;
using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, CudaDeleter<cudaStreamDestroy>>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, CudaDeleter<cudaEventDestroy>>;
using GraphExec = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, CudaDeleter<cudaGraphExecDestroy>>;

Stream createStream();
Event createEvent();
DeviceMemory allocate(size_t bytes);

// A tensor's memory for both sides: page-locked and copied, or on an integrated GPU the same for both.
class SharedMemory {
  public:
    SharedMemory(size_t bytes, Gpu const& gpu);

    void* host() const { return host_.get(); }
    void* device() const { return device_; }
    void upload(cudaStream_t stream) const;    // the host's bytes must stay until the stream is done with it
    void download(cudaStream_t stream) const;  // they are there when the stream is done with it

  private:
    size_t bytes_;
    PageLocked host_;
    DeviceMemory copy_;  // empty where the GPU uses the host's memory
    void* device_ = nullptr;
};

// Repeats work on a stream as one CUDA graph: launching a network's hundreds of kernels one by one may take longer than
// running them. Where the work cannot be recorded it is done call by call, and whyPlain says why.
class Replay {
  public:
    // work must have run once before, and always use the same memory.
    Replay(std::function<void()> work, cudaStream_t stream);

    void operator()() const;
    std::string const& whyPlain() const { return whyPlain_; }

  private:
    std::function<void()> work_;
    cudaStream_t stream_;
    GraphExec graph_;
    std::string whyPlain_;
};

}  // namespace hyperseg

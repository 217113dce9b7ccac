#include "cuda.h"

#include <utility>

#include "causes.h"
#include "user_error.h"

namespace hyperseg {

void checkCuda(cudaError_t error, char const* doing) {
    if (error != cudaSuccess) {
        cudaGetLastError();  // it must not be taken for a later call's
        std::string const text = cudaGetErrorString(error);
        throw UserError("CUDA failed while " + std::string(doing) + ": " + text + "." + likelyCause(text));
    }
}

Gpu openGpu() {
    char const* const doing = "looking for a GPU";
    checkCuda(cudaSetDevice(0), doing);
    checkCuda(cudaFree(nullptr), doing);  // starts the driver, which may fail only now
    cudaDeviceProp properties{};
    checkCuda(cudaGetDeviceProperties(&properties, 0), doing);
    return {properties.name, std::to_string(properties.major) + "." + std::to_string(properties.minor),
            properties.integrated && properties.canMapHostMemory};
}

Stream createStream() {
    cudaStream_t stream = nullptr;
    checkCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    return Stream(stream);
}

Event createEvent() {
    cudaEvent_t event = nullptr;
    checkCuda(cudaEventCreate(&event), "making an event");
    return Event(event);
}

DeviceMemory allocate(size_t bytes) {
    void* memory = nullptr;
    checkCuda(cudaMalloc(&memory, bytes), "allocating the GPU's memory");
    return DeviceMemory(memory);
}

SharedMemory::SharedMemory(size_t bytes, Gpu const& gpu) : bytes_(bytes) {
    void* host = nullptr;
    auto const flags = gpu.integrated ? cudaHostAllocMapped : cudaHostAllocDefault;
    checkCuda(cudaHostAlloc(&host, bytes, flags), "allocating page-locked memory");
    host_.reset(host);
    if (gpu.integrated) {
        checkCuda(cudaHostGetDevicePointer(&device_, host, 0), "mapping page-locked memory");
    } else {
        copy_ = allocate(bytes);
        device_ = copy_.get();
    }
}

void SharedMemory::upload(cudaStream_t stream) const {
    if (copy_) {
        checkCuda(cudaMemcpyAsync(device_, host(), bytes_, cudaMemcpyHostToDevice, stream), "uploading a frame");
    }
}

void SharedMemory::download(cudaStream_t stream) const {
    if (copy_) {
        checkCuda(cudaMemcpyAsync(host(), device_, bytes_, cudaMemcpyDeviceToHost, stream), "downloading labels");
    }
}

Replay::Replay(std::function<void()> work, cudaStream_t stream) : work_(std::move(work)), stream_(stream) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    // Only this thread has to keep from calls that cannot be recorded.
    cudaError_t error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (error == cudaSuccess) {
        try {
            work_();
        } catch (UserError const& refused) {
            whyPlain_ = refused.what();
        }
        error = cudaStreamEndCapture(stream, &graph);  // always, or the stream would stay in capture
    }
    if (error == cudaSuccess && whyPlain_.empty()) {
        error = cudaGraphInstantiateWithFlags(&exec, graph, 0);
    }
    if (error != cudaSuccess && whyPlain_.empty()) {
        whyPlain_ = cudaGetErrorString(error);
    }
    if (graph) {
        cudaGraphDestroy(graph);
    }
    graph_.reset(exec);
    cudaGetLastError();  // a refusal must not be taken for a later call's failure
    if (!graph_) {
        work_();  // and if it left anything else behind, that shows here and not in the first frame
        checkCuda(cudaStreamSynchronize(stream_), "running without a CUDA graph");
    }
}

void Replay::operator()() const {
    if (graph_) {
        checkCuda(cudaGraphLaunch(graph_.get(), stream_), "starting the CUDA graph");
    } else {
        work_();
    }
}

}  // namespace hyperseg

// An engine, ready to run: its memory, its stream and its CUDA graphs.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cuda.h"
#include "engine.h"
#include "images.h"

namespace hyperseg {

// Runs one frame at a time. The engine must outlive it. Everything throws UserError where CUDA or TensorRT fail.
class Network {
  public:
    Network(nvinfer1::ICudaEngine& engine, Gpu const& gpu, Logger& logger);
    Network(Network const&) = delete;  // the graphs' work holds on to this object
    Network& operator=(Network const&) = delete;

    ImageSize size() const { return size_; }
    // Why frames run without a CUDA graph; empty where they run with one.
    std::string const& whyPlain() const { return frame_->whyPlain(); }

    // Upload, network and download: RGB [height, width, 3] to labels [height, width], valid until the next call.
    uint8_t const* segment(void const* rgb);

    // How long the GPU took, by its own clock, for the network alone on the frame that was segmented last.
    double networkMs();

  private:
    void checkTensors();
    void openContext(Gpu const& gpu);
    void enqueue();

    nvinfer1::ICudaEngine& engine_;
    Logger& logger_;
    ImageSize size_{};

    // In this order, so that what uses another is destroyed before it.
    Stream stream_ = createStream();
    std::optional<SharedMemory> image_;
    std::optional<SharedMemory> labels_;
    std::vector<DeviceMemory> unread_;  // other outputs: TensorRT needs memory for them all the same
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    std::optional<Replay> frame_;
    std::optional<Replay> network_;

    nvinfer1::DataType labelType_{};
    std::vector<uint8_t> narrowLabels_;
    Event start_ = createEvent();
    Event end_ = createEvent();
};

}  // namespace hyperseg

#include "network.h"

#include <algorithm>
#include <cstring>

namespace hyperseg {

namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;

constexpr char const* kForeign = " Build it from a bundle's .trt.onnx.";

size_t elementBytes(DataType type) {
    switch (type) {
        case DataType::kUINT8:
        case DataType::kINT8:
        case DataType::kBOOL:
            return 1;
        case DataType::kHALF:
            return 2;
        case DataType::kFLOAT:
        case DataType::kINT32:
            return 4;
        default:
            return 8;  // INT64, and the most that any other takes
    }
}

size_t bytesOf(Dims const& shape, DataType type) {
    size_t bytes = elementBytes(type);
    for (int32_t i = 0; i < shape.nbDims; ++i) {
        bytes *= static_cast<size_t>(std::max<int64_t>(shape.d[i], 0));
    }
    return bytes;
}

bool isLabelType(DataType type) {
    return type == DataType::kUINT8 || type == DataType::kINT8 || type == DataType::kINT32 || isInt64(type);
}

// There are at most 256 classes: nothing is lost.
template <typename Wide>
void narrow(void const* wide, std::vector<uint8_t>& labels) {
    auto const* const first = static_cast<Wide const*>(wide);
    std::transform(first, first + labels.size(), labels.begin(),
                   [](Wide label) { return static_cast<uint8_t>(label); });
}

// The optimisation profile that takes one frame.
int32_t profileForOne(nvinfer1::ICudaEngine const& engine) {
    if (engine.getTensorShape(kImage).d[0] == 1) {
        return 0;  // the batch is fixed, and no profile knows of it
    }
    for (int32_t i = 0; i < engine.getNbOptimizationProfiles(); ++i) {
        auto const batch = [&](nvinfer1::OptProfileSelector bound) {
            return engine.getProfileShape(kImage, i, bound).d[0];
        };
        if (batch(nvinfer1::OptProfileSelector::kMIN) <= 1 && batch(nvinfer1::OptProfileSelector::kMAX) >= 1) {
            return i;
        }
    }
    throw UserError("The engine does not take one frame at a time: it was built for other batches alone.");
}

}  // namespace

Network::Network(nvinfer1::ICudaEngine& engine, Gpu const& gpu, Logger& logger) : engine_(engine), logger_(logger) {
    checkTensors();
    openContext(gpu);
    auto const frame = [this] {
        image_->upload(stream_.get());
        enqueue();
        labels_->download(stream_.get());
    };
    frame();  // TensorRT settles its shapes in the first run, which must not be the recorded one
    checkCuda(cudaStreamSynchronize(stream_.get()), "running the network");
    frame_.emplace(frame, stream_.get());
    network_.emplace([this] { enqueue(); }, stream_.get());
    logger_.forget();  // of a recording that was refused; a message says so
}

uint8_t const* Network::segment(void const* rgb) {
    std::memcpy(image_->host(), rgb, size_.pixels() * 3);
    (*frame_)();
    checkCuda(cudaStreamSynchronize(stream_.get()), "running the network");
    if (elementBytes(labelType_) == 1) {
        return static_cast<uint8_t const*>(labels_->host());
    }
    if (labelType_ == DataType::kINT32) {
        narrow<int32_t>(labels_->host(), narrowLabels_);
    } else {
        narrow<int64_t>(labels_->host(), narrowLabels_);
    }
    return narrowLabels_.data();
}

double Network::networkMs() {
    checkCuda(cudaEventRecord(start_.get(), stream_.get()), "timing the network");
    (*network_)();
    checkCuda(cudaEventRecord(end_.get(), stream_.get()), "timing the network");
    checkCuda(cudaEventSynchronize(end_.get()), "running the network");
    float ms = 0;
    checkCuda(cudaEventElapsedTime(&ms, start_.get(), end_.get()), "timing the network");
    return ms;
}

void Network::checkTensors() {
    bool hasImage = false, hasLabels = false;
    for (int32_t i = 0; i < engine_.getNbIOTensors(); ++i) {
        char const* const name = engine_.getIOTensorName(i);
        bool const isInput = engine_.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        DataType const type = engine_.getTensorDataType(name);
        Dims const shape = engine_.getTensorShape(name);
        if (isInput) {
            hasImage = std::string(name) == kImage && type == DataType::kUINT8 && shape.nbDims == 4 && shape.d[3] == 3;
            size_ = {shape.d[1], shape.d[2]};
            if (!hasImage) {
                break;
            }
        } else if (std::string(name) == kLabels) {
            hasLabels = isLabelType(type) && shape.nbDims == 3;
            labelType_ = type;
        }
    }
    if (!hasImage || !hasLabels || size_.height < 1 || size_.width < 1) {
        throw UserError(
            "The engine is of another network: it must have one input image, uint8 [N, height, width, 3], and an "
            "output labels, integers [N, height, width]." +
            std::string(kForeign));
    }
}

void Network::openContext(Gpu const& gpu) {
    auto const require = [this](bool succeeded, char const* otherwise) {
        if (!succeeded) {
            throw logger_.failure(otherwise);
        }
    };
    int32_t const profile = profileForOne(engine_);
    context_.reset(engine_.createExecutionContext());
    require(context_ != nullptr, "TensorRT cannot make room for an execution context.");
    require(context_->setOptimizationProfileAsync(profile, stream_.get()),
            "TensorRT refuses its optimisation profile.");
    checkCuda(cudaStreamSynchronize(stream_.get()), "choosing the optimisation profile");
    Dims frame = engine_.getTensorShape(kImage);
    frame.d[0] = 1;
    require(context_->setInputShape(kImage, frame), "TensorRT refuses the shape of a frame.");
    for (int32_t i = 0; i < engine_.getNbIOTensors(); ++i) {
        char const* const name = engine_.getIOTensorName(i);
        size_t const bytes = bytesOf(context_->getTensorShape(name), engine_.getTensorDataType(name));
        void* memory = nullptr;
        if (std::string(name) == kImage) {
            memory = image_.emplace(bytes, gpu).device();
        } else if (std::string(name) == kLabels) {
            if (bytes != size_.pixels() * elementBytes(labelType_)) {
                throw UserError("The engine's labels are not of the image's size." + std::string(kForeign));
            }
            memory = labels_.emplace(bytes, gpu).device();
        } else {
            memory = unread_.emplace_back(allocate(bytes)).get();
        }
        require(context_->setTensorAddress(name, memory), "TensorRT refuses a tensor's memory.");
    }
    std::memset(image_->host(), 0, size_.pixels() * 3);
    narrowLabels_.resize(size_.pixels());
}

void Network::enqueue() {
    if (!context_->enqueueV3(stream_.get())) {
        throw logger_.failure("TensorRT cannot run the network.");
    }
}

}  // namespace hyperseg

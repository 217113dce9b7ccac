// What an operator sees of ONNX Runtime: its attributes when a session is made, its tensors and threads when it runs.
#pragma once

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "onnxruntime_api.h"

namespace hyperseg {

inline void check(OrtApi const* api, OrtStatus* status) {
    if (!status) return;
    std::string const message = api->GetErrorMessage(status);
    api->ReleaseStatus(status);
    throw std::runtime_error(message);
}

inline void require(bool condition, char const* message) {
    if (!condition) throw std::invalid_argument(message);
}

class Attributes {
  public:
    Attributes(OrtApi const* api, OrtKernelInfo const* info) : api_(api), info_(info) {}

    int64_t integer(char const* name) const {
        int64_t value = 0;
        check(api_, api_->KernelInfoGetAttribute_int64(info_, name, &value));
        return value;
    }

    int64_t integer(char const* name, int64_t otherwise) const {
        int64_t value = 0;
        OrtStatus* absent = api_->KernelInfoGetAttribute_int64(info_, name, &value);
        if (!absent) return value;
        api_->ReleaseStatus(absent);
        return otherwise;
    }

    std::vector<int64_t> integers(char const* name) const {
        size_t count = 0;
        check(api_, api_->KernelInfoGetAttributeArray_int64(info_, name, nullptr, &count));
        std::vector<int64_t> values(count);
        check(api_, api_->KernelInfoGetAttributeArray_int64(info_, name, values.data(), &count));
        return values;
    }

    std::string text(char const* name) const {
        size_t size = 0;  // with the final zero
        check(api_, api_->KernelInfoGetAttribute_string(info_, name, nullptr, &size));
        std::string value(size, '\0');
        check(api_, api_->KernelInfoGetAttribute_string(info_, name, value.data(), &size));
        value.resize(size - 1);
        return value;
    }

  private:
    OrtApi const* api_;
    OrtKernelInfo const* info_;
};

struct Tensor {
    float const* data = nullptr;  // nullptr for an optional input that a node leaves out
    std::vector<int64_t> shape;
};

// Calls f(0) ... f(total - 1), each once, on ONNX Runtime's threads; returns when all are done.
struct ParallelFor {
    OrtApi const* api;
    OrtKernelContext const* context;

    template <class Function>
    void operator()(size_t total, Function const& function) const {
        struct Work {
            Function const& function;
            std::atomic<bool> outOfMemory;
        } work{function, {false}};
        auto const call = [](void* user, size_t index) {
            auto& work = *static_cast<Work*>(user);
            try {
                work.function(index);
            } catch (std::bad_alloc const&) {  // must not leave a thread of the pool
                work.outOfMemory = true;
            }
        };
        check(api, api->KernelContext_ParallelFor(context, call, total, 0, &work));
        if (work.outOfMemory) throw std::bad_alloc();
    }
};

class Context {
  public:
    Context(OrtApi const* api, OrtKernelContext* context) : parallelFor{api, context}, api_(api), context_(context) {}

    Tensor input(size_t index) const {
        OrtValue const* value = nullptr;
        check(api_, api_->KernelContext_GetInput(context_, index, &value));
        if (!value) return {};
        OrtTensorTypeAndShapeInfo* info = nullptr;
        check(api_, api_->GetTensorTypeAndShape(value, &info));
        size_t rank = 0;
        check(api_, api_->GetDimensionsCount(info, &rank));
        Tensor tensor{dataOf(value), std::vector<int64_t>(rank)};
        check(api_, api_->GetDimensions(info, tensor.shape.data(), rank));
        api_->ReleaseTensorTypeAndShapeInfo(info);
        return tensor;
    }

    // The only output, of the given shape, to be filled.
    float* output(std::vector<int64_t> const& shape) const {
        OrtValue* value = nullptr;
        check(api_, api_->KernelContext_GetOutput(context_, 0, shape.data(), shape.size(), &value));
        return dataOf(value);
    }

    ParallelFor parallelFor;

  private:
    float* dataOf(OrtValue const* value) const {
        void* data = nullptr;
        check(api_, api_->GetTensorMutableData(const_cast<OrtValue*>(value), &data));
        return static_cast<float*>(data);
    }

    OrtApi const* api_;
    OrtKernelContext* context_;
};

// Makes an operator known to ONNX Runtime: a class with kName, kInputs, kRequired (inputs from there on are optional),
// a constructor from Attributes and compute(Context), both of which may throw. All tensors are float.
template <class Operator>
OrtCustomOp customOp() {
    struct Kernel {
        OrtApi const* api;
        Operator op;
    };
    OrtCustomOp op = {};
    op.version = kOrtApiVersion;
    op.GetName = [](OrtCustomOp const*) { return Operator::kName; };
    op.GetExecutionProviderType = [](OrtCustomOp const*) -> char const* { return nullptr; };  // the CPU
    op.GetInputType = [](OrtCustomOp const*, size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; };
    op.GetInputTypeCount = [](OrtCustomOp const*) { return Operator::kInputs; };
    op.GetOutputType = op.GetInputType;
    op.GetOutputTypeCount = [](OrtCustomOp const*) -> size_t { return 1; };
    op.GetInputCharacteristic = [](OrtCustomOp const*, size_t index) {
        return index < Operator::kRequired ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
    };
    op.GetOutputCharacteristic = [](OrtCustomOp const*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    op.GetInputMemoryType = [](OrtCustomOp const*, size_t) { return OrtMemTypeDefault; };
    op.GetStartVersion = [](OrtCustomOp const*) { return 1; };
    op.GetEndVersion = [](OrtCustomOp const*) { return 1; };
    op.CreateKernelV2 = [](OrtCustomOp const*, OrtApi const* api, OrtKernelInfo const* info, void** kernel) {
        try {
            *kernel = new Kernel{api, Operator(Attributes(api, info))};
            return static_cast<OrtStatus*>(nullptr);
        } catch (std::exception const& error) {
            return api->CreateStatus(ORT_FAIL, error.what());
        }
    };
    op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
        auto const& [api, op] = *static_cast<Kernel*>(kernel);
        try {
            op.compute(Context(api, context));
            return static_cast<OrtStatus*>(nullptr);
        } catch (std::exception const& error) {
            return api->CreateStatus(ORT_FAIL, error.what());
        }
    };
    op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    return op;
}

}  // namespace hyperseg

// What an operator is to TensorRT, said once for all versions of its plugin interface and without any of them.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "../kernels/types.h"
#include "attributes.h"
#include "shapes.h"

namespace hyperseg {

// A dimension of an output: `factor` times the first input's dimension `axis`, or, without an axis, `factor` itself.
struct OutputDimension {
    std::optional<int32_t> axis;
    int64_t factor = 1;
};

// An operator with its attributes. It does not change once it is made, so that plugins and their clones share one.
class Operator {
  public:
    Operator(int32_t inputCount, std::vector<AttributeValue> values);
    virtual ~Operator() = default;

    std::vector<AttributeValue> const& values() const { return values_; }
    int32_t inputCount() const { return inputCount_; }

    // The one output Y, for inputs that fit.
    virtual std::vector<OutputDimension> outputDimensions() const = 0;

    // Whether inputs of these shapes fit the attributes and each other.
    Problem checkShapes(Shape const* inputs, int32_t count) const;

    // Queues the work. It allocates no memory, and does not wait for the device.
    Problem enqueue(Type type, Shape const* inputs, void const* const* data, void* y, cudaStream_t stream) const;

  protected:
    virtual Problem checkInputs(Shape const* inputs) const = 0;
    virtual cudaError_t launch(Type type, Shape const* inputs, void const* const* data, void* y,
                               cudaStream_t stream) const = 0;

  private:
    int32_t inputCount_;
    std::vector<AttributeValue> values_;
};

// An operator before it has attributes; name and version are how a network finds it.
struct OperatorKind {
    char const* name;
    char const* version;
    std::vector<AttributeSpec> attributes;
    // Makes the operator of values that match the attributes; where they contradict each other, says why not.
    Problem (*make)(std::vector<AttributeValue> values, std::shared_ptr<Operator const>& result);
};

// All operators: DPWConv, DPWInvertedResidual, their level forms, and LabelHead.
std::vector<OperatorKind> const& operatorKinds();

// What of a tensor decides whether a kernel can read it; type is empty for one that no kernel knows.
struct TensorKind {
    std::optional<Type> type;
    bool isLinear;
};

// The type rule: all tensors are linear and have the type of the first, which is FP32 or FP16. Tensors before position
// are settled, those after it are not to be looked at.
bool acceptsTensor(int32_t position, TensorKind const* tensors);

}  // namespace hyperseg

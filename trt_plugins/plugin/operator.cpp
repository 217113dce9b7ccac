#include "operator.h"

#include "dpw_inverted_residual_operator.h"
#include "dpwconv_operator.h"
#include "label_head_operator.h"

namespace hyperseg {

Operator::Operator(int32_t inputCount, std::vector<AttributeValue> values)
    : inputCount_(inputCount), values_(std::move(values)) {}

Problem Operator::checkShapes(Shape const* inputs, int32_t count) const {
    if (count != inputCount_ || !inputs) {
        return "there are " + std::to_string(count) + " inputs instead of " + std::to_string(inputCount_);
    }
    return checkInputs(inputs);
}

Problem Operator::enqueue(Type type, Shape const* inputs, void const* const* data, void* y, cudaStream_t stream) const {
    if (Problem problem = checkShapes(inputs, inputCount_)) {
        return problem;
    }
    for (int32_t i = 0; i < inputCount_; ++i) {
        for (int32_t axis = 0; axis < inputs[i].rank; ++axis) {
            if (inputs[i].dims[axis] == kUnknown) {
                return "an input's shape is not known yet";
            }
        }
        if (!data[i]) {
            return "an input has no memory";
        }
    }
    if (!y) {
        return "the output has no memory";
    }
    cudaError_t const error = launch(type, inputs, data, y, stream);
    if (error != cudaSuccess) {
        return std::string("the launch failed: ") + cudaGetErrorString(error);
    }
    return {};
}

std::vector<OperatorKind> const& operatorKinds() {
    static std::vector<OperatorKind> const kinds{dpwConvKind(), dpwInvertedResidualKind(), dpwConvLevelKind(),
                                                 dpwInvertedResidualLevelKind(), labelHeadKind()};
    return kinds;
}

bool acceptsTensor(int32_t position, TensorKind const* tensors) {
    TensorKind const& tensor = tensors[position];
    return tensor.isLinear && tensor.type && tensor.type == tensors[0].type;
}

}  // namespace hyperseg

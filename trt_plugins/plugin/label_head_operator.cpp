#include "label_head_operator.h"

#include "../kernels/label_head/label_head.h"

namespace hyperseg {

namespace {

class LabelHeadOperator : public Operator {
  public:
    explicit LabelHeadOperator(std::vector<AttributeValue> values) : Operator(1, std::move(values)) {}

    std::vector<OutputDimension> outputDimensions() const override { return {{0}, {2, scale()}, {3, scale()}}; }

  protected:
    Problem checkInputs(Shape const* inputs) const override {
        if (Problem problem = checkDimensions("X", inputs[0], 4)) {
            return problem;
        }
        if (inputs[0].dims[1] > kMaxClasses) {
            return "X has " + std::to_string(inputs[0].dims[1]) + " classes; there may be " +
                   std::to_string(kMaxClasses);
        }
        return {};
    }

    cudaError_t launch(Type type, Shape const* inputs, void const* const* data, void* y,
                       cudaStream_t stream) const override {
        auto const size = [&](int32_t axis) { return static_cast<int32_t>(inputs[0].dims[axis]); };
        return launchLabelHead({type, data[0], y, size(0), size(1), size(2), size(3), scale()}, stream);
    }

  private:
    int32_t scale() const { return values()[0][0]; }
};

Problem make(std::vector<AttributeValue> values, std::shared_ptr<Operator const>& result) {
    result = std::make_shared<LabelHeadOperator>(std::move(values));
    return {};
}

}  // namespace

OperatorKind labelHeadKind() { return {"LabelHead", "1", {{"scale", 1, 1, kMaxScale}}, make}; }

}  // namespace hyperseg

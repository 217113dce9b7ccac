#include "dpw_inverted_residual_operator.h"

#include "../kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "common_attributes.h"

namespace hyperseg {

namespace {

enum Attribute { kHiddenChannels, kOutChannels, kKernelShape, kPadMode, kActivation, kResidual, kWeightOffset };
enum Input { kX, kWeight, kBias1, kBias2, kBias3, kInputCount };

class DpwInvertedResidualOperator : public Operator {
  public:
    explicit DpwInvertedResidualOperator(std::vector<AttributeValue> values)
        : Operator(kInputCount, std::move(values)) {}

    int32_t outChannels() const override { return number(kOutChannels); }

  protected:
    Problem checkInputs(Shape const* inputs) const override {
        int64_t const channels = inputs[kX].dims[1], hidden = number(kHiddenChannels);
        PatchRule rule{kernel(), padMode(), number(kWeightOffset), kUnknown};
        if (inputs[kX].rank == 4 && channels > 0) {
            if (channels > kMostChannels) {
                return "X has more than " + std::to_string(kMostChannels) + " channels";
            }
            if (number(kResidual) && channels != outChannels()) {
                return "a residual block needs as many input channels (" + std::to_string(channels) + ") as output (" +
                       std::to_string(outChannels()) + ")";
            }
            rule.weightSize = hidden * (channels + int64_t{rule.kernel[0]} * rule.kernel[1] + outChannels());
        }
        if (Problem problem = checkPatches(inputs[kX], inputs[kWeight], rule)) {
            return problem;
        }
        if (Problem problem = checkBias("B1", inputs[kBias1], hidden)) {
            return problem;
        }
        if (Problem problem = checkBias("B2", inputs[kBias2], hidden)) {
            return problem;
        }
        return checkBias("B3", inputs[kBias3], outChannels());
    }

    cudaError_t launch(Type type, Shape const* inputs, void const* const* data, void* y,
                       cudaStream_t stream) const override {
        auto const size = [&](Input input, int32_t axis) { return static_cast<int32_t>(inputs[input].dims[axis]); };
        DpwInvertedResidualParams params{};
        params.type = type;
        params.x = {data[kX], nullptr, size(kX, 1), 0, 0};
        params.weight = data[kWeight];
        params.bias1 = data[kBias1];
        params.bias2 = data[kBias2];
        params.bias3 = data[kBias3];
        params.y = y;
        params.batch = size(kX, 0);
        params.inChannels = size(kX, 1);
        params.hiddenChannels = number(kHiddenChannels);
        params.outChannels = outChannels();
        params.height = size(kX, 2);
        params.width = size(kX, 3);
        params.weightChannels = size(kWeight, 1);
        params.gridHeight = size(kWeight, 2);
        params.gridWidth = size(kWeight, 3);
        params.kernelHeight = kernel()[0];
        params.kernelWidth = kernel()[1];
        params.weightOffset = number(kWeightOffset);
        params.padMode = padMode();
        params.activation = static_cast<Activation>(number(kActivation));
        params.residual = number(kResidual) != 0;
        return launchDpwInvertedResidual(params, stream);
    }

  private:
    int32_t number(Attribute attribute) const { return values()[attribute][0]; }
    std::array<int32_t, 2> kernel() const { return {values()[kKernelShape][0], values()[kKernelShape][1]}; }
    PadMode padMode() const { return static_cast<PadMode>(number(kPadMode)); }
};

Problem make(std::vector<AttributeValue> values, std::shared_ptr<Operator const>& result) {
    if (Problem problem = checkOdd(values[kKernelShape])) {
        return problem;
    }
    result = std::make_shared<DpwInvertedResidualOperator>(std::move(values));
    return {};
}

}  // namespace

OperatorKind dpwInvertedResidualKind() {
    // In the order of Attribute.
    return {"DPWInvertedResidual",
            "1",
            {channelsSpec("hidden_channels"),
             channelsSpec("out_channels"),
             kernelShapeSpec(),
             padModeSpec(),
             activationSpec(),
             {"residual", 1, 0, 1},
             weightOffsetSpec()},
            make};
}

}  // namespace hyperseg

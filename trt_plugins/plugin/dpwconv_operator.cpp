#include "dpwconv_operator.h"

#include "../kernels/dpwconv/dpwconv.h"
#include "common_attributes.h"

namespace hyperseg {

namespace {

enum Attribute { kOutChannels, kKernelShape, kGroup, kPadMode, kActivation, kWeightOffset };
enum Input { kX, kWeight, kBias, kInputCount };

class DpwConvOperator : public Operator {
  public:
    explicit DpwConvOperator(std::vector<AttributeValue> values) : Operator(kInputCount, std::move(values)) {}

    int32_t outChannels() const override { return number(kOutChannels); }

  protected:
    Problem checkInputs(Shape const* inputs) const override {
        int64_t const channels = inputs[kX].dims[1];
        PatchRule rule{kernel(), padMode(), number(kWeightOffset), kUnknown};
        if (inputs[kX].rank == 4 && channels > 0) {
            if (channels % number(kGroup)) {
                return "group " + std::to_string(number(kGroup)) + " does not divide the " + std::to_string(channels) +
                       " channels of X";
            }
            // At most 2^31 input channels, 2^16 output channels and 2^16 taps: no overflow.
            int64_t const groupChannels = channels / number(kGroup);
            if (groupChannels > kMostChannels) {
                return "X has more than " + std::to_string(kMostChannels) + " channels per group";
            }
            rule.weightSize = outChannels() * groupChannels * rule.kernel[0] * rule.kernel[1];
        }
        if (Problem problem = checkPatches(inputs[kX], inputs[kWeight], rule)) {
            return problem;
        }
        return checkBias("B", inputs[kBias], outChannels());
    }

    cudaError_t launch(Type type, Shape const* inputs, void const* const* data, void* y,
                       cudaStream_t stream) const override {
        auto const size = [&](Input input, int32_t axis) { return static_cast<int32_t>(inputs[input].dims[axis]); };
        DpwConvParams params{};
        params.type = type;
        params.x = {data[kX], nullptr, size(kX, 1), 0, 0};
        params.weight = data[kWeight];
        params.bias = data[kBias];
        params.y = y;
        params.batch = size(kX, 0);
        params.inChannels = size(kX, 1);
        params.outChannels = outChannels();
        params.height = size(kX, 2);
        params.width = size(kX, 3);
        params.weightChannels = size(kWeight, 1);
        params.gridHeight = size(kWeight, 2);
        params.gridWidth = size(kWeight, 3);
        params.kernelHeight = kernel()[0];
        params.kernelWidth = kernel()[1];
        params.group = number(kGroup);
        params.weightOffset = number(kWeightOffset);
        params.padMode = padMode();
        params.activation = static_cast<Activation>(number(kActivation));
        return launchDpwConv(params, stream);
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
    int32_t const outChannels = values[kOutChannels][0], group = values[kGroup][0];
    if (outChannels % group) {
        return "group " + std::to_string(group) + " does not divide the " + std::to_string(outChannels) +
               " output channels";
    }
    result = std::make_shared<DpwConvOperator>(std::move(values));
    return {};
}

}  // namespace

OperatorKind dpwConvKind() {
    // In the order of Attribute.
    return {"DPWConv",
            "1",
            {channelsSpec("out_channels"), kernelShapeSpec(), channelsSpec("group"), padModeSpec(), activationSpec(),
             weightOffsetSpec()},
            make};
}

}  // namespace hyperseg

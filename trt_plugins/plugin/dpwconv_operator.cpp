#include "dpwconv_operator.h"

#include "../kernels/dpwconv/dpwconv.h"
#include "common_attributes.h"
#include "map_inputs.h"

namespace hyperseg {

namespace {

enum Attribute { kOutChannels, kKernelShape, kGroup, kPadMode, kActivation, kWeightOffset, kPositions };
enum Input { kWeight, kBias, kInputCount };  // after those of the map

class DpwConvOperator : public Operator {
  public:
    DpwConvOperator(MapInputs x, std::vector<AttributeValue> values)
        : Operator(x.count() + kInputCount, std::move(values)), x_(x) {}

    std::vector<OutputDimension> outputDimensions() const override {
        return {{0}, {std::nullopt, outChannels()}, {2}, {3}};
    }

  protected:
    Problem checkInputs(Shape const* inputs) const override {
        if (Problem problem = x_.check(inputs)) {
            return problem;
        }
        Shape const x = x_.shape(inputs);
        Shape const* const others = inputs + x_.count();
        int64_t const channels = x.dims[1];
        PatchRule rule{kernel(), padMode(), number(kWeightOffset), kUnknown};
        if (x.rank == 4 && channels > 0) {
            if (channels % number(kGroup)) {
                return "group " + std::to_string(number(kGroup)) + " does not divide the " + std::to_string(channels) +
                       " channels of X";
            }
            // At most 2^16 input channels a group, 2^16 output channels and 2^16 taps: no overflow.
            int64_t const groupChannels = channels / number(kGroup);
            if (groupChannels > kMostChannels) {
                return "X has more than " + std::to_string(kMostChannels) + " channels per group";
            }
            rule.weightSize = outChannels() * groupChannels * rule.kernel[0] * rule.kernel[1];
        }
        if (Problem problem = checkPatches(x, others[kWeight], rule)) {
            return problem;
        }
        return checkBias("B", others[kBias], outChannels());
    }

    cudaError_t launch(Type type, Shape const* inputs, void const* const* data, void* y,
                       cudaStream_t stream) const override {
        auto const size = [](Shape const& shape, int32_t axis) { return static_cast<int32_t>(shape.dims[axis]); };
        Shape const x = x_.shape(inputs);
        Shape const& weight = inputs[x_.count() + kWeight];
        void const* const* const others = data + x_.count();
        DpwConvParams params{};
        params.type = type;
        params.x = x_.map(inputs, data);
        params.weight = others[kWeight];
        params.bias = others[kBias];
        params.y = y;
        params.batch = size(x, 0);
        params.inChannels = size(x, 1);
        params.outChannels = outChannels();
        params.height = size(x, 2);
        params.width = size(x, 3);
        params.weightChannels = size(weight, 1);
        params.gridHeight = size(weight, 2);
        params.gridWidth = size(weight, 3);
        params.kernelHeight = kernel()[0];
        params.kernelWidth = kernel()[1];
        params.group = number(kGroup);
        params.weightOffset = number(kWeightOffset);
        params.padMode = padMode();
        params.activation = static_cast<Activation>(number(kActivation));
        return launchDpwConv(params, stream);
    }

  private:
    int32_t outChannels() const { return number(kOutChannels); }
    int32_t number(Attribute attribute) const { return values()[attribute][0]; }
    std::array<int32_t, 2> kernel() const { return {values()[kKernelShape][0], values()[kKernelShape][1]}; }
    PadMode padMode() const { return static_cast<PadMode>(number(kPadMode)); }

    MapInputs const x_;
};

template <bool IS_LEVEL>
Problem make(std::vector<AttributeValue> values, std::shared_ptr<Operator const>& result) {
    if (Problem problem = checkOdd(values[kKernelShape])) {
        return problem;
    }
    int32_t const outChannels = values[kOutChannels][0], group = values[kGroup][0];
    if (outChannels % group) {
        return "group " + std::to_string(group) + " does not divide the " + std::to_string(outChannels) +
               " output channels";
    }
    MapInputs const x{IS_LEVEL, IS_LEVEL ? values[kPositions][0] : 0};
    result = std::make_shared<DpwConvOperator>(x, std::move(values));
    return {};
}

// In the order of Attribute, to kWeightOffset.
std::vector<AttributeSpec> attributes() {
    return {channelsSpec("out_channels"),
            kernelShapeSpec(),
            channelsSpec("group"),
            padModeSpec(),
            activationSpec(),
            weightOffsetSpec()};
}

}  // namespace

OperatorKind dpwConvKind() { return {"DPWConv", "1", attributes(), make<false>}; }

OperatorKind dpwConvLevelKind() {
    OperatorKind kind{"DPWConvLevel", "1", attributes(), make<true>};
    kind.attributes.push_back(positionsSpec());
    return kind;
}

}  // namespace hyperseg

#include "dpw_inverted_residual_operator.h"

#include "../kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "common_attributes.h"
#include "map_inputs.h"

namespace hyperseg {

namespace {

// A level adds no residual, and has its positions in that place.
enum Attribute {
    kHiddenChannels,
    kOutChannels,
    kKernelShape,
    kPadMode,
    kActivation,
    kResidual,
    kPositions = kResidual,
    kWeightOffset,
};
enum Input { kWeight, kBias1, kBias2, kBias3, kInputCount };  // after those of the map

class DpwInvertedResidualOperator : public Operator {
  public:
    DpwInvertedResidualOperator(MapInputs x, std::vector<AttributeValue> values)
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
        int64_t const channels = x.dims[1], hidden = number(kHiddenChannels);
        PatchRule rule{kernel(), padMode(), number(kWeightOffset), kUnknown};
        if (x.rank == 4 && channels > 0) {
            if (channels > kMostChannels) {
                return "X has more than " + std::to_string(kMostChannels) + " channels";
            }
            if (isResidual() && channels != outChannels()) {
                return "a residual block needs as many input channels (" + std::to_string(channels) + ") as output (" +
                       std::to_string(outChannels()) + ")";
            }
            rule.weightSize = hidden * (channels + int64_t{rule.kernel[0]} * rule.kernel[1] + outChannels());
        }
        if (Problem problem = checkPatches(x, others[kWeight], rule)) {
            return problem;
        }
        if (Problem problem = checkBias("B1", others[kBias1], hidden)) {
            return problem;
        }
        if (Problem problem = checkBias("B2", others[kBias2], hidden)) {
            return problem;
        }
        return checkBias("B3", others[kBias3], outChannels());
    }

    cudaError_t launch(Type type, Shape const* inputs, void const* const* data, void* y,
                       cudaStream_t stream) const override {
        auto const size = [](Shape const& shape, int32_t axis) { return static_cast<int32_t>(shape.dims[axis]); };
        Shape const x = x_.shape(inputs);
        Shape const& weight = inputs[x_.count() + kWeight];
        void const* const* const others = data + x_.count();
        DpwInvertedResidualParams params{};
        params.type = type;
        params.x = x_.map(inputs, data);
        params.weight = others[kWeight];
        params.bias1 = others[kBias1];
        params.bias2 = others[kBias2];
        params.bias3 = others[kBias3];
        params.y = y;
        params.batch = size(x, 0);
        params.inChannels = size(x, 1);
        params.hiddenChannels = number(kHiddenChannels);
        params.outChannels = outChannels();
        params.height = size(x, 2);
        params.width = size(x, 3);
        params.weightChannels = size(weight, 1);
        params.gridHeight = size(weight, 2);
        params.gridWidth = size(weight, 3);
        params.kernelHeight = kernel()[0];
        params.kernelWidth = kernel()[1];
        params.weightOffset = number(kWeightOffset);
        params.padMode = padMode();
        params.activation = static_cast<Activation>(number(kActivation));
        params.residual = isResidual();
        return launchDpwInvertedResidual(params, stream);
    }

  private:
    bool isResidual() const { return !x_.isLevel && number(kResidual) != 0; }
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
    MapInputs const x{IS_LEVEL, IS_LEVEL ? values[kPositions][0] : 0};
    result = std::make_shared<DpwInvertedResidualOperator>(x, std::move(values));
    return {};
}

// In the order of Attribute.
std::vector<AttributeSpec> attributes(AttributeSpec const& residualOrPositions) {
    return {channelsSpec("hidden_channels"),
            channelsSpec("out_channels"),
            kernelShapeSpec(),
            padModeSpec(),
            activationSpec(),
            residualOrPositions,
            weightOffsetSpec()};
}

}  // namespace

OperatorKind dpwInvertedResidualKind() {
    return {"DPWInvertedResidual", "1", attributes({"residual", 1, 0, 1}), make<false>};
}

OperatorKind dpwInvertedResidualLevelKind() {
    return {"DPWInvertedResidualLevel", "1", attributes(positionsSpec()), make<true>};
}

}  // namespace hyperseg

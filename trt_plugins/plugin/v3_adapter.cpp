#include "v3_adapter.h"

#include "conversions.h"

using namespace nvinfer1;

namespace hyperseg {

V3Plugin::V3Plugin(OperatorKind const& kind, std::shared_ptr<Operator const> op) : kind_(kind), op_(std::move(op)) {
    for (Field const& field : fieldsFromAttributes(kind_.attributes, op_->values())) {
        fields_.push_back(pluginField(field.name, field.type, field.data, field.length));
    }
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
}

int32_t V3Plugin::status(Problem const& problem) const {
    if (problem) {
        logProblem(kind_.name, *problem);
    }
    return problem ? 1 : 0;
}

IPluginCapability* V3Plugin::getCapabilityInterface(PluginCapabilityType type) noexcept {
    switch (type) {
        case PluginCapabilityType::kCORE:
            return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD:
            return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME:
            return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

IPluginV3* V3Plugin::clone() noexcept {
    return guarded<IPluginV3*>(nullptr, [&] { return new V3Plugin(kind_, op_); });
}

int32_t V3Plugin::configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs, DynamicPluginTensorDesc const*,
                                  int32_t) noexcept {
    return guarded(1, [&] { return status(op_->checkShapes(InputShapes(in, nbInputs).shapes.data(), nbInputs)); });
}

int32_t V3Plugin::getOutputDataTypes(DataType* outputTypes, int32_t nbOutputs, DataType const* inputTypes,
                                     int32_t nbInputs) const noexcept {
    return guarded(1, [&] {
        if (nbInputs != op_->inputCount() || nbOutputs != 1) {
            return status("there must be " + std::to_string(op_->inputCount()) + " inputs and one output");
        }
        std::array<TensorKind, kMaxInputs> kinds{};
        for (int32_t i = 0; i < nbInputs; ++i) {
            kinds[i] = kindFromDesc({Dims{}, inputTypes[i], TensorFormat::kLINEAR, 1.0F});
            if (!acceptsTensor(i, kinds.data())) {
                return status("all inputs must be of one type, FP32 or FP16");
            }
        }
        outputTypes[0] = inputTypes[0];
        return 0;
    });
}

int32_t V3Plugin::getOutputShapes(DimsExprs const* inputs, int32_t nbInputs, DimsExprs const*, int32_t,
                                  DimsExprs* outputs, int32_t nbOutputs, IExprBuilder& exprBuilder) noexcept {
    return guarded(1, [&] {
        if (nbOutputs != 1) {
            return status("there is one output");
        }
        return status(outputFromInputs(*op_, inputs, nbInputs, exprBuilder, outputs[0]));
    });
}

bool V3Plugin::supportsFormatCombination(int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
                                         int32_t nbOutputs) noexcept {
    if (nbInputs != op_->inputCount() || nbOutputs != 1 || pos < 0 || pos > nbInputs) {
        return false;
    }
    std::array<TensorKind, kMaxInputs + 1> kinds{};
    kinds[0] = kindFromDesc(inOut[0].desc);
    kinds[pos] = kindFromDesc(inOut[pos].desc);
    return acceptsTensor(pos, kinds.data());
}

int32_t V3Plugin::onShapeChange(PluginTensorDesc const* in, int32_t nbInputs, PluginTensorDesc const*,
                                int32_t) noexcept {
    return guarded(1, [&] { return status(op_->checkShapes(InputShapes(in, nbInputs).shapes.data(), nbInputs)); });
}

int32_t V3Plugin::enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const* outputDesc,
                          void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept {
    return guarded(1,
                   [&] { return status(enqueueTensors(*op_, inputDesc, outputDesc[0], inputs, outputs[0], stream)); });
}

IPluginV3* V3Plugin::attachToContext(IPluginResourceContext*) noexcept { return clone(); }

PluginFieldCollection const* V3Plugin::getFieldsToSerialize() noexcept { return &collection_; }

V3Creator::V3Creator(OperatorKind const& kind) : kind_(kind), fields_(declaredFields(kind)) {
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
}

IPluginV3* V3Creator::createPlugin(char const*, PluginFieldCollection const* fc, TensorRTPhase) noexcept {
    return guarded<IPluginV3*>(nullptr, [&]() -> IPluginV3* {
        auto op = operatorFromFields(kind_, fc);
        return op ? new V3Plugin(kind_, std::move(op)) : nullptr;
    });
}

}  // namespace hyperseg

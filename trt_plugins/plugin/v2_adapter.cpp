#include "v2_adapter.h"

#include <cstring>

#include "conversions.h"

using namespace nvinfer1;

namespace hyperseg {

V2Plugin::V2Plugin(OperatorKind const& kind, std::shared_ptr<Operator const> op, std::string pluginNamespace)
    : kind_(kind),
      op_(std::move(op)),
      words_(wordsFromAttributes(op_->values())),
      namespace_(std::move(pluginNamespace)) {}

IPluginV2DynamicExt* V2Plugin::clone() const noexcept {
    return guarded<IPluginV2DynamicExt*>(nullptr, [&] { return new V2Plugin(kind_, op_, namespace_); });
}

DimsExprs V2Plugin::getOutputDimensions(int32_t, DimsExprs const* inputs, int32_t nbInputs,
                                        IExprBuilder& exprBuilder) noexcept {
    DimsExprs const invalid{-1, {}};
    return guarded(invalid, [&] {
        DimsExprs output{};
        if (Problem problem = outputFromInputs(*op_, inputs, nbInputs, exprBuilder, output)) {
            logProblem(kind_.name, *problem);
            return invalid;
        }
        return output;
    });
}

bool V2Plugin::supportsFormatCombination(int32_t pos, PluginTensorDesc const* inOut, int32_t nbInputs,
                                         int32_t nbOutputs) noexcept {
    if (nbInputs != op_->inputCount() || nbOutputs != 1 || pos < 0 || pos > nbInputs) {
        return false;
    }
    std::array<TensorKind, kMaxInputs + 1> kinds{};
    kinds[0] = kindFromDesc(inOut[0]);
    kinds[pos] = kindFromDesc(inOut[pos]);
    return acceptsTensor(pos, kinds.data());
}

// Can say what is wrong but not refuse it; enqueue does.
void V2Plugin::configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs, DynamicPluginTensorDesc const*,
                               int32_t) noexcept {
    guarded(0, [&] {
        if (Problem problem = op_->checkShapes(InputShapes(in, nbInputs).shapes.data(), nbInputs)) {
            logProblem(kind_.name, *problem);
        }
        return 0;
    });
}

int32_t V2Plugin::enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const* outputDesc,
                          void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept {
    return guarded(1, [&] {
        Problem const problem = enqueueTensors(*op_, inputDesc, outputDesc[0], inputs, outputs[0], stream);
        if (problem) {
            logProblem(kind_.name, *problem);
        }
        return problem ? 1 : 0;
    });
}

// Whether all types agree is seen later, in supportsFormatCombination: this function cannot refuse.
DataType V2Plugin::getOutputDataType(int32_t, DataType const* inputTypes, int32_t) const noexcept {
    return inputTypes[0];
}

void V2Plugin::serialize(void* buffer) const noexcept { std::memcpy(buffer, words_.data(), getSerializationSize()); }

void V2Plugin::setPluginNamespace(char const* pluginNamespace) noexcept {
    guarded(0, [&] {
        namespace_ = pluginNamespace ? pluginNamespace : "";
        return 0;
    });
}

V2Creator::V2Creator(OperatorKind const& kind) : kind_(kind), fields_(declaredFields(kind)) {
    collection_.nbFields = static_cast<int32_t>(fields_.size());
    collection_.fields = fields_.data();
}

IPluginV2* V2Creator::createPlugin(char const*, PluginFieldCollection const* fc) noexcept {
    return guarded<IPluginV2*>(nullptr, [&]() -> IPluginV2* {
        auto op = operatorFromFields(kind_, fc);
        return op ? new V2Plugin(kind_, std::move(op), namespace_) : nullptr;
    });
}

IPluginV2* V2Creator::deserializePlugin(char const*, void const* serialData, size_t serialLength) noexcept {
    return guarded<IPluginV2*>(nullptr, [&]() -> IPluginV2* {
        std::vector<AttributeValue> values;
        std::shared_ptr<Operator const> op;
        Problem problem = parseWords(kind_.attributes, serialData, serialLength, values);
        if (!problem) {
            problem = kind_.make(std::move(values), op);
        }
        if (problem) {
            logProblem(kind_.name, *problem);
            return nullptr;
        }
        return new V2Plugin(kind_, std::move(op), namespace_);
    });
}

void V2Creator::setPluginNamespace(char const* pluginNamespace) noexcept {
    guarded(0, [&] {
        namespace_ = pluginNamespace ? pluginNamespace : "";
        return 0;
    });
}

}  // namespace hyperseg

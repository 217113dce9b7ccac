// From TensorRT's structs, which are alike in all versions, to the operator's description.
#pragma once

#include <algorithm>

#include "logger.h"
#include "operator.h"
#include "tensorrt.h"

namespace hyperseg {

constexpr int32_t kMaxInputs = 6;

inline Shape shapeFromDims(nvinfer1::Dims const& dims) {
    Shape shape;
    shape.rank = dims.nbDims;
    for (int32_t i = 0; i < std::min<int32_t>(dims.nbDims, nvinfer1::Dims::MAX_DIMS); ++i) {
        shape.dims[i] = dims.d[i];
    }
    return shape;
}

inline TensorKind kindFromDesc(nvinfer1::PluginTensorDesc const& desc) {
    TensorKind kind{{}, desc.format == nvinfer1::TensorFormat::kLINEAR};
    if (desc.type == nvinfer1::DataType::kFLOAT) {
        kind.type = Type::kFloat32;
    } else if (desc.type == nvinfer1::DataType::kHALF) {
        kind.type = Type::kFloat16;
    }
    return kind;
}

// The shapes of a plugin's inputs, without memory from the heap: enqueue comes by here.
struct InputShapes {
    std::array<Shape, kMaxInputs> shapes{};

    template <typename Desc>
    InputShapes(Desc const* inputs, int32_t count) {
        for (int32_t i = 0; i < std::min(count, kMaxInputs); ++i) {
            shapes[i] = shapeFromDims(tensorDesc(inputs[i]).dims);
        }
    }

    static nvinfer1::PluginTensorDesc const& tensorDesc(nvinfer1::PluginTensorDesc const& desc) { return desc; }
    static nvinfer1::PluginTensorDesc const& tensorDesc(nvinfer1::DynamicPluginTensorDesc const& d) { return d.desc; }
};

// The output's dimensions as expressions. An input's dimension that is an expression of other sizes is not known yet.
inline Problem outputFromInputs(Operator const& op, nvinfer1::DimsExprs const* inputs, int32_t count,
                                nvinfer1::IExprBuilder& builder, nvinfer1::DimsExprs& output) {
    std::array<Shape, kMaxInputs> shapes{};
    for (int32_t i = 0; i < std::min(count, kMaxInputs); ++i) {
        shapes[i].rank = inputs[i].nbDims;
        for (int32_t axis = 0; axis < std::min<int32_t>(inputs[i].nbDims, nvinfer1::Dims::MAX_DIMS); ++axis) {
            auto const* dim = inputs[i].d[axis];
            shapes[i].dims[axis] = dim && dim->isConstant() ? dim->getConstantValue() : kUnknown;
        }
    }
    if (Problem problem = op.checkShapes(shapes.data(), count)) {
        return problem;
    }
    output.nbDims = 0;
    for (auto const& [axis, factor] : op.outputDimensions()) {
        auto const*& dim = output.d[output.nbDims++];
        if (!axis) {
            dim = builder.constant(factor);
        } else if (factor == 1) {
            dim = inputs[0].d[*axis];
        } else if (shapes[0].dims[*axis] != kUnknown) {
            dim = builder.constant(factor * shapes[0].dims[*axis]);
        } else {
            dim =
                builder.operation(nvinfer1::DimensionOperation::kPROD, *inputs[0].d[*axis], *builder.constant(factor));
        }
    }
    return {};
}

// Runs the operator on tensors whose types and layouts, too, are looked at once more: a wrong one would be read as
// something that it is not.
inline Problem enqueueTensors(Operator const& op, nvinfer1::PluginTensorDesc const* inputs,
                              nvinfer1::PluginTensorDesc const& output, void const* const* data, void* y,
                              cudaStream_t stream) {
    std::array<TensorKind, kMaxInputs + 1> kinds{};
    int32_t const count = op.inputCount();
    for (int32_t i = 0; i <= count; ++i) {
        kinds[i] = kindFromDesc(i < count ? inputs[i] : output);
        if (!acceptsTensor(i, kinds.data())) {
            return "all tensors must be linear and of one type, FP32 or FP16";
        }
    }
    InputShapes const shapes(inputs, count);
    return op.enqueue(*kinds[0].type, shapes.shapes.data(), data, y, stream);
}

// Makes an operator of the fields that a creator receives; where it cannot, says why in TensorRT's log.
inline std::shared_ptr<Operator const> operatorFromFields(OperatorKind const& kind,
                                                          nvinfer1::PluginFieldCollection const* collection) {
    std::vector<Field> fields;
    if (collection && collection->fields) {
        for (int32_t i = 0; i < collection->nbFields; ++i) {
            nvinfer1::PluginField const& field = collection->fields[i];
            FieldType const type = field.type == nvinfer1::PluginFieldType::kINT32  ? FieldType::kInt32
                                   : field.type == nvinfer1::PluginFieldType::kCHAR ? FieldType::kChar
                                                                                    : FieldType::kOther;
            fields.push_back({field.name, type, field.data, field.length});
        }
    }
    std::vector<AttributeValue> values;
    std::shared_ptr<Operator const> result;
    Problem problem = parseAttributes(kind.attributes, fields.data(), static_cast<int32_t>(fields.size()), values);
    if (!problem) {
        problem = kind.make(std::move(values), result);
    }
    if (problem) {
        logProblem(kind.name, *problem);
        return nullptr;
    }
    return result;
}

inline nvinfer1::PluginField pluginField(char const* name, FieldType type, void const* data, int32_t length) {
    using nvinfer1::PluginFieldType;
    return {name, data, type == FieldType::kInt32 ? PluginFieldType::kINT32 : PluginFieldType::kCHAR, length};
}

// What an operator declares: names and types of its attributes, without values.
inline std::vector<nvinfer1::PluginField> declaredFields(OperatorKind const& kind) {
    std::vector<nvinfer1::PluginField> fields;
    for (AttributeSpec const& spec : kind.attributes) {
        fields.push_back(pluginField(spec.name, spec.type(), nullptr, spec.count));
    }
    return fields;
}

}  // namespace hyperseg

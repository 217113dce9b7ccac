// The plugins for TensorRT 8 by their own interface, IPluginV2DynamicExt: shapes of outputs, and bytes there and back.
// Compiled with TensorRT 8's headers and the plugin's sources; the kernels are left out.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

#include "../../trt_plugins/kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "../../trt_plugins/kernels/dpwconv/dpwconv.h"
#include "../../trt_plugins/kernels/label_head/label_head.h"
#include "../../trt_plugins/plugin/v2_adapter.h"

using namespace nvinfer1;

extern "C" IPluginCreator* const* getPluginCreators(int32_t& nbCreators);

#define CHECK(condition)                                                     \
    if (!(condition)) {                                                      \
        std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
        std::abort();                                                        \
    }

namespace hyperseg {

cudaError_t launchDpwConv(DpwConvParams const&, cudaStream_t) { return cudaSuccess; }
cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const&, cudaStream_t) { return cudaSuccess; }
cudaError_t launchLabelHead(LabelHeadParams const&, cudaStream_t) { return cudaSuccess; }

}  // namespace hyperseg

extern "C" char const* cudaGetErrorString(cudaError_t) { return "no runtime is linked"; }

namespace {

struct Dimension : IDimensionExpr, apiv::VDimensionExpr {
    int32_t size;  // -1 for one that is not known
    explicit Dimension(int32_t s) : size(s) { mImpl = this; }
    bool isConstant() const override { return size != -1; }
    int32_t getConstantValue() const override { return size; }
};

struct Builder : IExprBuilder, apiv::VExprBuilder {
    std::deque<Dimension> dimensions;
    Builder() { mImpl = this; }
    IDimensionExpr const* constant(int32_t value) override { return &dimensions.emplace_back(value); }
    IDimensionExpr const* operation(DimensionOperation, IDimensionExpr const&, IDimensionExpr const&) override {
        return constant(-1);
    }
};

using Shape = std::vector<int32_t>;

IPluginV2DynamicExt* create(char const* name, std::vector<PluginField> const& fields) {
    int32_t count = 0;
    auto* const* creators = getPluginCreators(count);
    CHECK(count == 5);
    PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
    for (int32_t i = 0; i < count; ++i) {
        if (std::string(creators[i]->getPluginName()) != name) continue;
        auto* const plugin = creators[i]->createPlugin("node", &collection);
        CHECK(plugin);
        // TensorRT stores the plugin as bytes in the engine; what is read from them says the same.
        std::vector<char> bytes(plugin->getSerializationSize()), again(bytes.size());
        plugin->serialize(bytes.data());
        plugin->destroy();
        auto* const read = creators[i]->deserializePlugin("node", bytes.data(), bytes.size());
        CHECK(read && read->getSerializationSize() == bytes.size());
        read->serialize(again.data());
        CHECK(again == bytes && !creators[i]->deserializePlugin("node", bytes.data(), bytes.size() - 1));
        return static_cast<IPluginV2DynamicExt*>(read);
    }
    CHECK(!"no such plugin");
    return nullptr;
}

// The output has the shape `expected`, in which -1 is the first input's own batch; {} for shapes that do not fit.
void checkOutput(IPluginV2DynamicExt& plugin, std::vector<Shape> const& shapes, Shape const& expected) {
    Builder builder;
    std::vector<DimsExprs> inputs(shapes.size());
    for (size_t i = 0; i < shapes.size(); ++i)
        for (int32_t size : shapes[i]) inputs[i].d[inputs[i].nbDims++] = builder.constant(size);
    auto const output = plugin.getOutputDimensions(0, inputs.data(), static_cast<int32_t>(inputs.size()), builder);
    CHECK(output.nbDims == (expected.empty() ? -1 : static_cast<int32_t>(expected.size())));
    for (size_t i = 0; i < expected.size(); ++i)
        CHECK(expected[i] == -1 ? output.d[i] == inputs[0].d[0] : output.d[i]->getConstantValue() == expected[i]);
}

PluginField integers(char const* name, std::vector<int32_t> const& values) {
    return {name, values.data(), PluginFieldType::kINT32, static_cast<int32_t>(values.size())};
}

PluginField text(char const* name, char const* value) {
    return {name, value, PluginFieldType::kCHAR, static_cast<int32_t>(std::string(value).size())};
}

}  // namespace

int main() {
    std::vector<int32_t> const none{0}, one{1}, two{2}, eight{8}, kernel{3, 3};
    auto* const head = create("LabelHead", {integers("scale", two)});
    checkOutput(*head, {{-1, 19, 12, 16}}, {-1, 24, 32});
    checkOutput(*head, {{3, 19, 12, 16}}, {3, 24, 32});
    checkOutput(*head, {{-1, 257, 12, 16}}, {});
    checkOutput(*head, {{-1, 19, 12}}, {});
    head->destroy();

    auto* const level =
        create("DPWInvertedResidualLevel",
               {integers("hidden_channels", two), integers("out_channels", eight), integers("kernel_shape", kernel),
                text("pad_mode", "reflect"), text("activation", "relu6"), integers("weight_offset", none),
                integers("positions", one)});
    checkOutput(*level, {{-1, 3, 12, 16}, {-1, 4, 6, 8}, {-1, 52, 3, 4}, {2}, {2}, {8}}, {-1, 8, 12, 16});
    checkOutput(*level, {{-1, 3, 12, 16}, {-1, 4, 6, 8}, {-1, 51, 3, 4}, {2}, {2}, {8}}, {});
    checkOutput(*level, {{-1, 3, 12, 16}, {-1, 4, 6, 7}, {-1, 52, 3, 4}, {2}, {2}, {8}}, {});
    level->destroy();
}

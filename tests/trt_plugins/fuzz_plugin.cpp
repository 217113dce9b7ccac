// fuzz_plugin SEED ROUNDS: plugins of random fields on random shapes, under the sanitizers this program is built with.
// The sources of the plugin are linked into it, the kernels are replaced by launchers that check what reaches them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>

#include "../../trt_plugins/kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "../../trt_plugins/kernels/dpwconv/dpwconv.h"
#include "../../trt_plugins/kernels/label_head/label_head.h"
#include "../../trt_plugins/plugin/operator.h"
#include "field_text.h"
#include "tensorrt_double.h"

using namespace tensorrt_double;

extern "C" IPluginCreatorInterface* const* getCreators(int32_t& nbCreators);
extern "C" void setLoggerFinder(ILoggerFinder* finder);

#define CHECK(condition)                                                     \
    if (!(condition)) {                                                      \
        std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
        std::abort();                                                        \
    }

namespace {

int launches = 0;

template <typename Params>
void checkLaunch(Params const& p, int64_t weightSize) {
    ++launches;
    CHECK(p.x.skip && p.x.skipChannels > 0 && p.x.channels() == p.inChannels);
    CHECK(p.x.previous ? p.x.previousChannels > 0 && p.height % 2 == 0 && p.width % 2 == 0
                       : p.x.previousChannels == 0 && p.x.positions == 0);
    for (int32_t size : {p.batch, p.inChannels, p.outChannels, p.height, p.width, p.gridHeight, p.gridWidth})
        CHECK(size > 0);
    CHECK(p.height % p.gridHeight == 0 && p.width % p.gridWidth == 0);
    CHECK(p.kernelHeight % 2 == 1 && p.kernelWidth % 2 == 1 && p.weightOffset >= 0);
    CHECK(p.weightOffset + weightSize <= p.weightChannels);
    if (p.padMode == hyperseg::PadMode::kReflect) CHECK(p.kernelHeight / 2 < p.height && p.kernelWidth / 2 < p.width);
}

}  // namespace

namespace hyperseg {

cudaError_t launchDpwConv(DpwConvParams const& p, cudaStream_t) {
    CHECK(p.inChannels % p.group == 0 && p.outChannels % p.group == 0);
    checkLaunch(p, int64_t{p.outChannels} * (p.inChannels / p.group) * p.kernelHeight * p.kernelWidth);
    return cudaSuccess;
}

cudaError_t launchDpwInvertedResidual(DpwInvertedResidualParams const& p, cudaStream_t) {
    CHECK(!p.residual || p.inChannels == p.outChannels);
    int64_t const taps = p.kernelHeight * p.kernelWidth;
    checkLaunch(p, p.hiddenChannels * (p.inChannels + taps + p.outChannels));
    return cudaSuccess;
}

cudaError_t launchLabelHead(LabelHeadParams const& p, cudaStream_t) {
    ++launches;
    for (int32_t size : {p.batch, p.classes, p.height, p.width, p.scale}) CHECK(size > 0);
    CHECK(p.classes <= kMaxClasses && p.scale <= kMaxScale);
    return cudaSuccess;
}

}  // namespace hyperseg

extern "C" char const* cudaGetErrorString(cudaError_t) { return "no runtime is linked"; }

namespace {

std::mt19937 generator;

int64_t upTo(int64_t last) { return static_cast<int64_t>(generator() % (last + 1)); }
bool oneIn(int64_t n) { return upTo(n - 1) == 0; }

template <typename T>
T pick(std::vector<T> const& choices) {
    return choices[upTo(static_cast<int64_t>(choices.size()) - 1)];
}

int64_t anyNumber() {
    return pick<int64_t>({0, 1, 2, 3, 5, 8, 255, 256, 65536, 65537, 2147483647, -1, -2147483648LL, upTo(100)});
}

// What the operators' names say of them, in the order of operatorKinds().
struct Form {
    bool isInverted, isLevel, isHead;
};
Form formOf(std::string const& name) {
    auto const has = [&](char const* part) { return name.find(part) != std::string::npos; };
    return {has("Inverted"), has("Level"), has("Head")};
}

// Fields that are valid, but for every fifth collection, which is changed at random.
Words randomFields(Form const& form) {
    auto const number = [](char const* name, std::vector<int> values) {
        return std::string(name) + "=i:" + std::to_string(pick(values));
    };
    std::string const text = pick<std::string>({"s:", "t:"});
    Words fields{number("out_channels", {2, 4, 6}), "kernel_shape=i:" + pick<std::string>({"1,1", "3,3", "1,5"}),
                 "pad_mode=" + text + pick<std::string>({"reflect", "constant"}),
                 "activation=" + text + pick<std::string>({"none", "relu", "relu6"})};
    fields.push_back(form.isInverted ? number("hidden_channels", {1, 8}) : number("group", {1, 1, 2}));
    if (form.isLevel) fields.push_back(number("positions", {0, 1}));
    if (form.isInverted && !form.isLevel) fields.push_back(number("residual", {0, 0, 1}));
    if (form.isHead) fields = {number("scale", {1, 2, 3, 64})};
    if (!form.isHead && oneIn(2)) fields.push_back(number("weight_offset", {0, 1, 7, 2147483647}));
    std::shuffle(fields.begin(), fields.end(), generator);
    for (int64_t changes = oneIn(2) ? 0 : oneIn(2) ? 1 : 3; changes > 0; --changes) {
        auto& field = fields[upTo(static_cast<int64_t>(fields.size()) - 1)];
        std::string const name = field.substr(0, field.find('='));
        field = pick<std::string>({name, name, name, "", "unknown", "axis"}) + "=" +
                pick<std::string>({"i:", "l:", "f:", "n:", "s:", "t:"}) + std::to_string(anyNumber());
        if (oneIn(3)) field += "," + std::to_string(anyNumber());
        if (oneIn(8)) fields.push_back(pick(fields));
        if (oneIn(8) && fields.size() > 1) fields.pop_back();
    }
    return fields;
}

using Shape = std::vector<int64_t>;

std::vector<Shape> randomShapes(Form const& form) {
    int64_t const n = 1 + upTo(2), nh = 1 + upTo(3), nw = 1 + upTo(3), channels = pick<int64_t>({2, 4, 6});
    auto const bias = [] { return Shape{pick<int64_t>({1, 2, 4, 6, 8})}; };
    Shape const map{n, channels, nh * (1 + upTo(4)), nw * (1 + upTo(4))};
    std::vector<Shape> shapes{map};
    if (form.isLevel) shapes = {{n, channels, 2 * map[2], 2 * map[3]}, map};
    if (!form.isHead) shapes.insert(shapes.end(), {{n, pick<int64_t>({4, 64, 1000, 2147483647}), nh, nw}, bias()});
    if (form.isInverted) shapes.insert(shapes.end(), {bias(), bias()});
    if (form.isInverted && oneIn(2)) shapes[shapes.size() - 2] = shapes[shapes.size() - 3];
    for (int64_t changes = oneIn(3) ? upTo(3) : 0; changes > 0; --changes) {
        Shape* const shape = pick<Shape*>({&shapes[0], &shapes[shapes.size() / 2], &shapes.back()});
        if (!shape->empty()) pick<std::reference_wrapper<int64_t>>({shape->front(), shape->back()}).get() = anyNumber();
        if (oneIn(8)) shape->resize(upTo(8), anyNumber());
        if (oneIn(16) && shapes.size() > 1) shapes.pop_back();
    }
    return shapes;
}

// Calls all that looks at shapes; all must come to the same verdict, and enqueue must work where they accept.
bool tryShapes(IPluginV3& plugin, std::vector<Shape> const& shapes) {
    auto& build = *static_cast<IPluginV3OneBuild*>(plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
    auto& runtime = *static_cast<IPluginV3OneRuntime*>(plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    auto const count = static_cast<int32_t>(shapes.size());
    Builder builder;
    std::vector<DimsExprs> expressions(count);
    std::vector<DynamicPluginTensorDesc> dynamic(count + 1);
    std::vector<PluginTensorDesc> fixed(count + 1);
    std::vector<DataType> types(count + 1);
    auto const type = pick<DataType>({DataType::kFLOAT, DataType::kHALF});
    bool isKnown = true, isOneType = true;
    for (int32_t i = 0; i <= count; ++i) {
        types[i] = oneIn(40) ? static_cast<DataType>(upTo(20)) : type;
        isOneType = isOneType && types[i] == type;
        fixed[i].type = types[i];
        if (i == count) break;
        expressions[i].nbDims = fixed[i].dims.nbDims = static_cast<int32_t>(shapes[i].size());
        for (size_t k = 0; k < shapes[i].size(); ++k) {
            expressions[i].d[k] = builder.constant(shapes[i][k]);
            fixed[i].dims.d[k] = shapes[i][k];
            isKnown = isKnown && shapes[i][k] != -1;
        }
        dynamic[i].desc = fixed[i];
    }
    dynamic[count].desc = fixed[count];

    DimsExprs output{};
    bool const fits = build.getOutputShapes(expressions.data(), count, nullptr, 0, &output, 1, builder) == 0;
    CHECK(fits == (build.configurePlugin(dynamic.data(), count, &dynamic[count], 1) == 0));
    CHECK(fits == (runtime.onShapeChange(fixed.data(), count, &fixed[count], 1) == 0));
    bool takesAll = true;
    for (int32_t i = -1; i <= count + 1; ++i) {
        bool const takes = build.supportsFormatCombination(i, dynamic.data(), count, 1);
        takesAll = takesAll && (takes || i < 0 || i > count);
        CHECK(!takes || (i >= 0 && i <= count));
    }
    DataType outputType{};
    if (build.getOutputDataTypes(&outputType, 1, types.data(), count) == 0) CHECK(outputType == types[0]);
    if (!fits) return false;

    CHECK(output.nbDims == (count == 1 ? 3 : 4) && output.d[0] == expressions[0].d[0]);
    for (int32_t i = 1; i < output.nbDims; ++i)
        CHECK(!output.d[i]->isConstant() || output.d[i]->getConstantValue() > 0);
    CHECK(takesAll == isOneType);
    std::vector<void const*> data(count, &build);
    void* y = oneIn(20) ? nullptr : &build;
    int const before = launches;
    bool const works = runtime.enqueue(fixed.data(), &fixed[count], data.data(), &y, nullptr, nullptr) == 0;
    CHECK(works == (isOneType && isKnown && y) && works == (launches > before));
    return true;
}

// The bytes that an older TensorRT stores: those of a plugin give its values again, others are taken or refused.
void tryBytes(hyperseg::OperatorKind const& kind) {
    std::vector<hyperseg::AttributeValue> values;
    std::vector<int32_t> words(upTo(10));
    for (int32_t& word : words) word = static_cast<int32_t>(oneIn(3) ? anyNumber() : upTo(3));
    std::shared_ptr<hyperseg::Operator const> op;
    if (parseWords(kind.attributes, words.data(), words.size() * sizeof(int32_t) - (oneIn(9) && !words.empty()),
                   values) ||
        kind.make(values, op))
        return;
    CHECK(hyperseg::wordsFromAttributes(op->values()) == words);
}

}  // namespace

int main(int, char** arguments) {
    generator.seed(std::atoi(arguments[1]));
    Finder finder;
    setLoggerFinder(&finder);
    int32_t count = 0;
    auto* const* creators = getCreators(count);
    CHECK(count == 5);
    std::vector<int> made(count), refused(count), fitted(count), launched(count);
    for (int rounds = std::atoi(arguments[2]); rounds > 0; --rounds) {
        auto const kind = upTo(count - 1);
        auto& creator = static_cast<IPluginCreatorV3One&>(*creators[kind]);
        Form const form = formOf(creator.getPluginName());
        Fields const fields(randomFields(form));
        finder.logger.messages.clear();
        std::unique_ptr<IPluginV3> plugin(
            creator.createPlugin("node", oneIn(50) ? nullptr : &fields.collection, TensorRTPhase::kBUILD));
        CHECK(!plugin == !finder.logger.messages.empty());
        tryBytes(hyperseg::operatorKinds()[kind]);
        if (!plugin && ++refused[kind]) continue;
        ++made[kind];
        // A copy of a copy from the stored fields says the same, and outlives the first.
        auto const stored = [](IPluginV3& p) {
            return static_cast<IPluginV3OneRuntime*>(p.getCapabilityInterface(PluginCapabilityType::kRUNTIME))
                ->getFieldsToSerialize();
        };
        std::string const text = textOf(*stored(*plugin));
        std::unique_ptr<IPluginV3> copy(creator.createPlugin("node", stored(*plugin), TensorRTPhase::kRUNTIME));
        CHECK(copy);
        plugin.reset(copy->clone());
        copy.reset();
        CHECK(textOf(*stored(*plugin)) == text);
        int const before = launches;
        for (int i = 0; i < 8; ++i) fitted[kind] += tryShapes(*plugin, randomShapes(form));
        launched[kind] += launches - before;
    }
    // The figures show that the fuzz reaches both sides of every operator.
    for (int32_t i = 0; i < count; ++i) {
        std::printf("made %d refused %d fitted %d launched %d\n", made[i], refused[i], fitted[i], launched[i]);
        CHECK(made[i] > 0 && refused[i] > 0 && fitted[i] > 0 && launched[i] > 0);
    }
}

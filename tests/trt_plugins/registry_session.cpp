// registry_session LEAN_RUNTIME PLUGIN_LIBRARY: a TensorRT registry that is spoken to line by line. It loads the plugin
// library as TensorRT does, then answers each line on stdin with one on stdout: "ok RESULT", or "no MESSAGES" with what
// came through TensorRT's logger.
//
//   declared NAME               fields of the creator      capabilities            of the plugin at hand
//   create NAME FIELD...        make a plugin              clone, recreate         a plugin from that plugin
//   types TYPE...               its output's type          formats POS TENSOR...   whether it takes tensor POS
//   shapes SHAPE...             its output's shape         configure SHAPE..., change SHAPE...
//   enqueue TYPE SHAPE...       without any memory         unload                  deregister the library
//
// FIELD is name=i:1,2 (int32), l: (int64), f: (float), s:text (ended by NUL), t:text (not ended) or n: (int32, no
// data); TYPE is float, half or int8; TENSOR is TYPE:FORMAT with linear or hwc8; SHAPE is 1,16,?,8.
#include <dlfcn.h>

#include <iostream>
#include <memory>

#include "field_text.h"
#include "tensorrt_double.h"

using namespace tensorrt_double;

namespace {

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

Finder finder;

DataType typeOf(std::string const& word) {
    return word == "float" ? DataType::kFLOAT : word == "half" ? DataType::kHALF : DataType::kINT8;
}

Dims dimsOf(std::string const& word) {
    Dims dims{};
    for (auto const& size : split(word, ',')) dims.d[dims.nbDims++] = size == "?" ? -1 : std::stoll(size);
    return dims;
}

class Session {
  public:
    Session(char const* runtime, char const* library) {
        void* const lean = dlopen(runtime, RTLD_NOW);
        auto* const getRegistry = lean ? reinterpret_cast<Registry* (*)()>(dlsym(lean, "getPluginRegistry")) : nullptr;
        if (!getRegistry) throw Failure(dlerror());
        registry_ = getRegistry();
        handle_ = registry_->loadLibrary(library);
        if (!handle_) throw Failure("loadLibrary returned nullptr");
        // One refusal through TensorRT's own logger, if it has one by now; from then on through this program's.
        PluginFieldCollection const none{};
        if (creator("DPWConv").createPlugin("node", &none, TensorRTPhase::kBUILD)) throw Failure("took no fields");
        void* const plugins = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
        reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(plugins, "setLoggerFinder"))(&finder);
    }

    std::string answer(Words words) {
        std::string const command = words.at(0);
        words.erase(words.begin());
        if (command == "declared") return textOf(*creator(words.at(0)).getFieldNames());
        if (command == "create") return create(words);
        if (command == "unload") return unload();
        if (!plugin_) throw Failure("there is no plugin");
        if (command == "capabilities") return capabilities();
        if (command == "clone") return take(plugin_->clone());
        if (command == "recreate") return recreate();
        if (command == "types") return types(words);
        if (command == "shapes") return shapes(words);
        if (command == "formats") return formats(words);
        if (command == "configure" || command == "change") return configure(command, words);
        if (command == "enqueue") return enqueue(words);
        throw Failure("there is no command " + command);
    }

  private:
    template <typename Interface>
    Interface& capability(PluginCapabilityType type) {
        return *static_cast<Interface*>(plugin_->getCapabilityInterface(type));
    }
    IPluginV3OneCore& core() { return capability<IPluginV3OneCore>(PluginCapabilityType::kCORE); }
    IPluginV3OneBuild& build() { return capability<IPluginV3OneBuild>(PluginCapabilityType::kBUILD); }
    IPluginV3OneRuntime& runtime() { return capability<IPluginV3OneRuntime>(PluginCapabilityType::kRUNTIME); }

    IPluginCreatorV3One& creator(std::string const& name) {
        auto* const found = registry_->getCreator(name.c_str(), "1", "");
        if (!found || std::string(found->getInterfaceInfo().kind) != "PLUGIN CREATOR_V3ONE")
            throw Failure("no creator");
        return static_cast<IPluginCreatorV3One&>(*found);
    }

    std::string take(IPluginV3* plugin) {
        if (!plugin) throw Failure("");
        plugin_.reset(plugin);
        return "";
    }

    void check(int32_t status) {
        if (status) throw Failure("");
    }

    std::string create(Words const& words) {
        Fields const fields(Words(words.begin() + 1, words.end()));
        return take(creator(words.at(0)).createPlugin("node", &fields.collection, TensorRTPhase::kBUILD));
    }

    std::string recreate() {
        auto const* fields = runtime().getFieldsToSerialize();
        std::string const text = textOf(*fields);
        take(creator(core().getPluginName()).createPlugin("node", fields, TensorRTPhase::kRUNTIME));
        return text;
    }

    std::string capabilities() {
        return std::string(core().getInterfaceInfo().kind) + " " + build().getInterfaceInfo().kind + " " +
               runtime().getInterfaceInfo().kind + " " + core().getPluginName() + " " + core().getPluginVersion() +
               " '" + core().getPluginNamespace() + "' outputs " + std::to_string(build().getNbOutputs());
    }

    std::string types(Words const& words) {
        std::vector<DataType> inputs;
        for (auto const& word : words) inputs.push_back(typeOf(word));
        DataType output{};
        check(build().getOutputDataTypes(&output, 1, inputs.data(), static_cast<int32_t>(inputs.size())));
        return output == DataType::kFLOAT ? "float" : "half";
    }

    std::string shapes(Words const& words) {
        Builder builder;
        std::vector<DimsExprs> inputs;
        for (auto const& word : words) {
            Dims const dims = dimsOf(word);
            auto& input = inputs.emplace_back();
            for (input.nbDims = 0; input.nbDims < dims.nbDims; ++input.nbDims)
                input.d[input.nbDims] = builder.constant(dims.d[input.nbDims]);
        }
        DimsExprs output{};
        check(build().getOutputShapes(inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0, &output, 1,
                                      builder));
        std::string text;
        for (int32_t i = 0; i < output.nbDims; ++i) text += (i ? "," : "") + nameOf(output.d[i], i, inputs[0]);
        return text;
    }

    // A known size, or whose expression it is: ? for the first input's own of this axis, ?2 for that of axis 2, and
    // 3*?2 for a multiple. Another one that is unknown as well will not do.
    std::string nameOf(IDimensionExpr const* dim, int32_t axis, DimsExprs const& input) {
        if (dim->isConstant()) return std::to_string(dim->getConstantValue());
        if (dim == input.d[axis]) return "?";
        for (int32_t other = 0; other < input.nbDims; ++other)
            if (dim == input.d[other]) return "?" + std::to_string(other);
        auto const& product = static_cast<Dimension const&>(*dim);
        return product.multiplied ? std::to_string(product.factor) + "*" + nameOf(product.multiplied, axis, input)
                                  : "!";
    }

    std::string formats(Words const& words) {
        std::vector<DynamicPluginTensorDesc> tensors;
        for (size_t i = 1; i < words.size(); ++i) {
            auto const parts = split(words[i], ':');
            auto& desc = tensors.emplace_back().desc;
            desc.type = typeOf(parts.at(0));
            desc.format = parts.at(1) == "linear" ? TensorFormat::kLINEAR : TensorFormat::kHWC8;
        }
        bool const taken = build().supportsFormatCombination(std::stoi(words.at(0)), tensors.data(),
                                                             static_cast<int32_t>(tensors.size()) - 1, 1);
        return taken ? "yes" : "not";
    }

    std::string configure(std::string const& command, Words const& words) {
        std::vector<DynamicPluginTensorDesc> dynamic(words.size());
        std::vector<PluginTensorDesc> fixed(words.size());
        for (size_t i = 0; i < words.size(); ++i) fixed[i].dims = dynamic[i].desc.dims = dimsOf(words[i]);
        auto const count = static_cast<int32_t>(words.size());
        DynamicPluginTensorDesc const output{};
        check(command == "change" ? runtime().onShapeChange(fixed.data(), count, &output.desc, 1)
                                  : build().configurePlugin(dynamic.data(), count, &output, 1));
        return "";
    }

    std::string enqueue(Words const& words) {
        std::vector<PluginTensorDesc> inputs;
        for (size_t i = 1; i < words.size(); ++i)
            inputs.push_back({dimsOf(words[i]), typeOf(words.at(0)), TensorFormat::kLINEAR, 1});
        std::vector<void const*> const data(inputs.size(), nullptr);
        void* y = nullptr;
        check(runtime().enqueue(inputs.data(), inputs.data(), data.data(), &y, nullptr, nullptr));
        return "";
    }

    std::string unload() {
        plugin_.reset();
        registry_->deregisterLibrary(handle_);
        return registry_->getCreator("DPWConv", "1", "") ? "still there" : "gone";
    }

    Registry* registry_ = nullptr;
    void* handle_ = nullptr;
    std::unique_ptr<IPluginV3> plugin_;
};

}  // namespace

int main(int, char** arguments) try {
    Session session(arguments[1], arguments[2]);
    std::cout << "ok" << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
        finder.logger.messages.clear();
        try {
            std::string const result = session.answer(split(line, ' '));
            std::cout << "ok " << result << std::endl;
        } catch (Failure const& failure) {
            std::cout << "no " << failure.what() << finder.logger.messages << std::endl;
        }
    }
} catch (std::exception const& error) {
    std::cout << "no " << error.what() << std::endl;
    return 1;
}

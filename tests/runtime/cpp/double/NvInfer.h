// Takes the place of TensorRT's header of this name, with what runtime/cpp uses of it, as version DOUBLE_MAJOR.
//
// Models and plans are texts of words KEY=VALUE after "onnx" or "plan". The network's labels are the image's red
// values.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <map>
#include <memory>
#include <sstream>

#define NV_TENSORRT_MAJOR DOUBLE_MAJOR
#define NV_TENSORRT_MINOR 6

namespace nvinfer1 {

using AsciiChar = char;
#if DOUBLE_MAJOR == 8
using Dimension = int32_t;
enum class DataType { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kUINT8 };
enum class NetworkDefinitionCreationFlag { kEXPLICIT_BATCH = 0 };
enum class BuilderFlag { kFP16 = 0, kINT8 = 1, kTF32 = 7 };
#else
using Dimension = int64_t;
enum class DataType { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kUINT8, kFP8, kBF16, kINT64 };
enum class NetworkDefinitionCreationFlag { kSTRONGLY_TYPED = DOUBLE_MAJOR == 10 };
enum class BuilderFlag { kTF32 = 6 };
#endif
enum class TensorIOMode { kNONE, kINPUT, kOUTPUT };
enum class OptProfileSelector { kMIN, kOPT, kMAX };
enum class MemoryPoolType { kWORKSPACE };
struct Dims {
    int32_t nbDims;
    Dimension d[8];
};

class ILogger {
  public:
    enum class Severity { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
    virtual void log(Severity severity, AsciiChar const* message) noexcept = 0;
    virtual ~ILogger() = default;
};

struct Words {
    std::string kind;
    std::map<std::string, std::string> values;

    explicit Words(std::string const& text) {
        std::istringstream stream(text);
        stream >> kind;
        for (std::string word; stream >> word;)
            values[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    }
    std::string text(char const* key) const { return values.count(key) ? values.at(key) : ""; }
    Dimension number(char const* key, Dimension otherwise) const {
        return values.count(key) ? std::atoi(values.at(key).c_str()) : otherwise;
    }
};

struct IHostMemory {
    std::string bytes;
    void* data() { return bytes.data(); }
    size_t size() const { return bytes.size(); }
};

struct IPluginRegistry {
    std::string loaded;
    void* loadLibrary(AsciiChar const* path) {
        assert(path[0] == '/');  // a name alone would be looked for elsewhere
        loaded = path;
        return loaded.find("refused") == std::string::npos ? this : nullptr;
    }
};

class ICudaEngine;

// A context's memory and shapes must all have been set before it runs.
class IExecutionContext {
  public:
    explicit IExecutionContext(ICudaEngine& engine) : engine_(engine) {}
    ~IExecutionContext();
    bool setOptimizationProfileAsync(int32_t profile, cudaStream_t);
    bool setInputShape(char const* name, Dims const& shape);
    Dims getTensorShape(char const* name) const;
    bool setTensorAddress(char const* name, void* memory) {
        assert(onDevice.count(memory) || onHost.count(memory));
        memory_[name] = memory;
        return true;
    }
    bool enqueueV3(cudaStream_t stream);

  private:
    ICudaEngine& engine_;
    int32_t profile_ = 0, runs_ = 0;
    Dimension batch_ = 0;
    std::map<std::string, void*> memory_;
};

class ICudaEngine {
  public:
    ICudaEngine(Words words, ILogger& logger) : words(std::move(words)), logger(logger) {}
    ~ICudaEngine() { assert(contexts == 0); }
    int32_t getNbIOTensors() const { return words.number("logits", 0) ? 3 : 2; }
    char const* getIOTensorName(int32_t i) const { return i == 0 ? "labels" : i == 1 ? input.c_str() : "logits"; }
    TensorIOMode getTensorIOMode(char const* name) const {
        return name == input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    DataType getTensorDataType(char const* name) const {
        if (name == std::string("logits")) return DataType::kFLOAT;
        std::string const type = name == input ? "UINT8" : words.text("labels");
#if DOUBLE_MAJOR > 8
        if (type == "INT64") return DataType::kINT64;
#endif
        return type == "INT8" ? DataType::kINT8 : type == "INT32" ? DataType::kINT32 : DataType::kUINT8;
    }
    Dims getTensorShape(char const* name) const {
        Dimension const batch = words.number("batch", -1), height = words.number("height", 0);
        Dimension const width = words.number("width", 0);
        if (name == input) return {4, {batch, height, width, 3}};
        if (name == std::string("logits")) return {4, {batch, 5, height, width}};
        return {3, {batch, height, width}};
    }
    int32_t getNbOptimizationProfiles() const { return words.number("profiles", 1); }
    // Profile i is for the i-th largest batch, down to 1 image in the last one.
    Dims getProfileShape(char const*, int32_t profile, OptProfileSelector) const {
        return {4, {Dimension{getNbOptimizationProfiles()} - profile + words.number("more", 0), 0, 0, 0}};
    }
    IExecutionContext* createExecutionContext() {
        ++contexts;
        return new IExecutionContext(*this);
    }

    Words words;
    ILogger& logger;
    int32_t contexts = 0;
    std::string input = words.values.count("input") ? words.text("input") : "image";
};

inline IExecutionContext::~IExecutionContext() {
    --engine_.contexts;
    std::fprintf(stderr, "double: enqueueV3 was called %d times\n", runs_);
}
inline bool IExecutionContext::setOptimizationProfileAsync(int32_t profile, cudaStream_t) {
    profile_ = profile;
    return profile < engine_.getNbOptimizationProfiles();
}
inline bool IExecutionContext::setInputShape(char const* name, Dims const& shape) {
    batch_ = shape.d[0];
    Dims const expected = engine_.getTensorShape(name);
    bool const fits =
        expected.d[0] < 0 ? engine_.getProfileShape(name, profile_, {}).d[0] == batch_ : expected.d[0] == batch_;
    return fits && shape.nbDims == 4 && shape.d[1] == expected.d[1] && shape.d[2] == expected.d[2];
}
inline Dims IExecutionContext::getTensorShape(char const* name) const {
    Dims shape = engine_.getTensorShape(name);
    shape.d[0] = batch_;
    return shape;
}
inline bool IExecutionContext::enqueueV3(cudaStream_t stream) {
    assert(batch_ == 1 && static_cast<int32_t>(memory_.size()) == engine_.getNbIOTensors());
    assert(runs_++ || !stream->capturing);  // TensorRT asks for one run before a capture
    if (stream->capturing && cudaDouble("no capture")) {
        engine_.logger.log(ILogger::Severity::kERROR, "IExecutionContext::enqueueV3: operation not permitted");
        stream->broken = true;
        return false;
    }
    auto const* const image = static_cast<uint8_t const*>(memory_.at("image"));
    void* const labels = memory_.at("labels");
    auto const pixels = static_cast<size_t>(engine_.words.number("height", 0) * engine_.words.number("width", 0));
    std::string const type = engine_.words.text("labels");
    stream->add([=] {
        ++gpuTime;
        for (size_t i = 0; i < pixels; ++i) {
            if (type == "INT32") static_cast<int32_t*>(labels)[i] = image[3 * i];
            if (type == "INT64") static_cast<int64_t*>(labels)[i] = image[3 * i];
            if (type == "INT8" || type == "UINT8") static_cast<uint8_t*>(labels)[i] = image[3 * i];
        }
    });
    return true;
}

class IRuntime {
  public:
    explicit IRuntime(ILogger& logger) : logger_(logger) {}
    IPluginRegistry& getPluginRegistry() { return registry_; }
    ICudaEngine* deserializeCudaEngine(void const* bytes, size_t size) {
        Words const words(std::string(static_cast<char const*>(bytes), size));
        std::string error;
        bool const holdsOperators = words.text("aot") == "1";
        if (registry_.loaded.empty() != holdsOperators) error = "IPluginCreator not found in Plugin Registry";
        if (words.text("end") != "1")
            error = "Serialization assertion stdArchiveReader failed.Magic tag does not match";
        if (words.text("tensorrt") != std::to_string(DOUBLE_MAJOR))
            error =
                "The engine plan file is not compatible with this version of TensorRT, expecting library version 10";
        if (words.text("compute") != "9.0") error = "Expecting compute 9.0 got compute 8.7, please rebuild.";
        if (words.kind != "plan") error = "Magic tag does not match";
        logger_.log(ILogger::Severity::kWARNING, "A warning of the double.");
        logger_.log(ILogger::Severity::kINFO, "nobody needs to know");
        if (error.empty()) return new ICudaEngine(words, logger_);
        logger_.log(ILogger::Severity::kERROR, error.c_str());
        return nullptr;
    }

  private:
    ILogger& logger_;
    IPluginRegistry registry_;
};

struct ITensor {
    Words words;
    std::string name = words.values.count("input") ? words.text("input") : "image";
    char const* getName() const { return name.c_str(); }
    Dims getDimensions() const {
        return {4, {words.number("batch", -1), words.number("height", 0), words.number("width", 0), 3}};
    }
};
struct INetworkDefinition {
    uint32_t flags;
    ILogger& logger;
    std::unique_ptr<ITensor> input;
    int32_t getNbInputs() const { return 1; }
    ITensor* getInput(int32_t) const { return input.get(); }
};
struct IOptimizationProfile {
    Dims dimensions[3];
    bool setDimensions(char const* name, OptProfileSelector bound, Dims dims) {
        assert(name == std::string("image"));
        dimensions[static_cast<int>(bound)] = dims;
        return true;
    }
};
struct IBuilderConfig {
    uint32_t flags = 1U << static_cast<int>(BuilderFlag::kTF32);
    size_t workspace = 0;
    std::string batches;
    void clearFlag(BuilderFlag flag) { flags &= ~(1U << static_cast<int>(flag)); }
#if DOUBLE_MAJOR == 8
    void setFlag(BuilderFlag flag) { flags |= 1U << static_cast<int>(flag); }
#endif
    void setMemoryPoolLimit(MemoryPoolType, size_t bytes) { workspace = bytes; }
    int32_t addOptimizationProfile(IOptimizationProfile const* profile) {
        for (Dims const& dims : profile->dimensions) batches += std::to_string(dims.d[0]);
        return 0;
    }
};
class IBuilder {
  public:
    explicit IBuilder(ILogger& logger) : logger_(logger) {}
    IPluginRegistry& getPluginRegistry() { return registry_; }
    INetworkDefinition* createNetworkV2(uint32_t flags) { return new INetworkDefinition{flags, logger_, nullptr}; }
    IBuilderConfig* createBuilderConfig() { return new IBuilderConfig; }
    IOptimizationProfile* createOptimizationProfile() { return &profile_; }
    IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) {
        auto values = network.input->words.values;
        if (values.count("unbuildable")) {
            logger_.log(ILogger::Severity::kERROR, "Error Code 2: OutOfMemory (Requested size was 99 bytes.)");
            return nullptr;
        }
        values["tensorrt"] = std::to_string(DOUBLE_MAJOR), values["compute"] = "9.0";
        values["network_flags"] = std::to_string(network.flags), values["flags"] = std::to_string(config.flags);
        values["workspace"] = std::to_string(config.workspace), values["batches"] = config.batches;
        values["end"] = "1";
        std::string text = "plan";
        for (auto const& [key, value] : values) text += " " + key + "=" + value;
        return new IHostMemory{text};
    }

  private:
    ILogger& logger_;
    IPluginRegistry registry_;
    IOptimizationProfile profile_{};
};

inline IRuntime* createInferRuntime(ILogger& logger) { return new IRuntime(logger); }
inline IBuilder* createInferBuilder(ILogger& logger) { return new IBuilder(logger); }

}  // namespace nvinfer1

extern "C" inline int32_t getInferLibVersion() { return DOUBLE_MAJOR == 8 ? 8601 : DOUBLE_MAJOR * 10000 + 601; }

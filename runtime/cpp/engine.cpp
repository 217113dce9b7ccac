#include "engine.h"

#include "causes.h"

namespace fs = std::filesystem;

namespace hyperseg {

namespace {

constexpr char const* kCannotStart =
    "TensorRT cannot start. Is the NVIDIA driver new enough for the CUDA version that this TensorRT was built with?";

void loadPlugin(nvinfer1::IPluginRegistry& registry, fs::path const& library, Logger& logger) {
    if (!registry.loadLibrary(fs::absolute(library).c_str())) {
        throw logger.failure(
            "TensorRT " + tensorrtVersion() + " does not load the plugin library " + library.string() + ".",
            "Build it on this device: scripts/build_plugin.sh");
    }
}

void parse(nvonnxparser::IParser& parser, std::string const& onnx, fs::path const& name) {
    if (parser.parse(onnx.data(), onnx.size())) {
        return;
    }
    std::string errors;
    for (int32_t i = 0; i < parser.getNbErrors(); ++i) {
        errors += "\n  " + std::string(parser.getError(i)->desc());
    }
    throw UserError("TensorRT " + tensorrtVersion() + " cannot read " + name.string() + "." + likelyCause(errors) +
                    errors);
}

// One frame at a time: kernels are chosen for exactly that.
void addProfile(nvinfer1::IBuilder& builder, nvinfer1::IBuilderConfig& config,
                nvinfer1::INetworkDefinition const& network, fs::path const& name) {
    nvinfer1::ITensor const* const image = network.getNbInputs() == 1 ? network.getInput(0) : nullptr;
    if (!image || std::string(image->getName()) != kImage || image->getDimensions().nbDims != 4) {
        throw UserError(name.string() + " is no exported HyperSeg: it does not have one input image of 4 dimensions.");
    }
    nvinfer1::Dims frame = image->getDimensions();
    if (frame.d[0] > 0) {
        return;  // the batch is fixed, and checked when the engine is used
    }
    frame.d[0] = 1;
    nvinfer1::IOptimizationProfile* const profile = builder.createOptimizationProfile();  // the builder's
    for (auto const bound :
         {nvinfer1::OptProfileSelector::kMIN, nvinfer1::OptProfileSelector::kOPT, nvinfer1::OptProfileSelector::kMAX}) {
        profile->setDimensions(kImage, bound, frame);
    }
    config.addOptimizationProfile(profile);
}

}  // namespace

std::unique_ptr<nvinfer1::IHostMemory> buildPlan(std::string const& onnx, Arguments const& arguments,
                                                 fs::path const& plugin, Logger& logger) {
    std::unique_ptr<nvinfer1::IBuilder> const builder(nvinfer1::createInferBuilder(logger));
    if (!builder) {
        throw logger.failure(kCannotStart);
    }
    loadPlugin(builder->getPluginRegistry(), plugin, logger);
    std::unique_ptr<nvinfer1::INetworkDefinition> const network(createNetwork(*builder));
    std::unique_ptr<nvinfer1::IBuilderConfig> const config(builder->createBuilderConfig());
    std::unique_ptr<nvonnxparser::IParser> const parser(nvonnxparser::createParser(*network, logger));
    if (!network || !config || !parser) {
        throw logger.failure("TensorRT cannot make an empty network.");
    }
    parse(*parser, onnx, arguments.onnx);
    addProfile(*builder, *config, *network, arguments.onnx);
    allowPrecisions(*config, arguments.fp16, arguments.int8);
    config->clearFlag(nvinfer1::BuilderFlag::kTF32);  // on by default: FP32 with 10 bits of mantissa instead of 23
    if (arguments.workspaceMib) {
        config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, static_cast<size_t>(arguments.workspaceMib)
                                                                             << 20);
    }
    std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
    if (!plan) {
        throw logger.failure("TensorRT " + tensorrtVersion() + " cannot build " + arguments.onnx.string() + ".");
    }
    return plan;
}

Engine openEngine(void const* plan, size_t size, std::string const& name, fs::path const& plugin, Logger& logger) {
    std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
    if (!runtime) {
        throw logger.failure(kCannotStart);
    }
    if (!plugin.empty()) {
        loadPlugin(runtime->getPluginRegistry(), plugin, logger);
    }
    std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan, size));
    if (!engine) {
        std::string const none = plugin.empty() ? "--plugin none is for engines that hold their operators. " : "";
        throw logger.failure("TensorRT " + tensorrtVersion() + " cannot open " + name + ".",
                             none +
                                 "An engine serves the GPU and the TensorRT that built it. Build it on this device: "
                                 "hyperseg_run --onnx NAME.PRECISION.trt.onnx --save-engine " +
                                 name);
    }
    return {std::move(runtime), std::move(engine)};
}

}  // namespace hyperseg

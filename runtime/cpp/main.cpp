// hyperseg_run: segments frames with TensorRT. Start reading here.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <new>

#include "arguments.h"
#include "engine.h"
#include "files.h"
#include "images.h"
#include "latency.h"
#include "network.h"
#include "plugin.h"

namespace fs = std::filesystem;
using namespace hyperseg;

namespace {

constexpr int kUserError = 2;
constexpr int kUntimedRuns = 10;

// An engine, read from its file or built and written there.
Engine makeEngine(Arguments const& arguments, fs::path const& plugin, std::string const& file, Logger& logger) {
    std::string const name = arguments.engine.string();
    if (arguments.onnx.empty()) {
        return openEngine(file.data(), file.size(), name, plugin, logger);
    }
    std::printf("Building %s, which takes some minutes ...\n", name.c_str());
    std::fflush(stdout);
    auto const plan = buildPlan(file, arguments, plugin, logger);
    writeFile(arguments.engine, plan->data(), plan->size());
    std::printf("Built %s, %.1f MB\n", name.c_str(), static_cast<double>(plan->size()) / 1e6);
    return openEngine(plan->data(), plan->size(), name, plugin, logger);
}

void segmentAll(Network& network, std::vector<fs::path> const& frames, Arguments const& arguments) {
    std::vector<double> allMs, networkMs;
    for (fs::path const& frame : frames) {
        std::string const rgb = readFrame(frame, network.size());
        for (int i = 0; i < kUntimedRuns && allMs.empty(); ++i) {  // clocks rise and caches fill
            network.segment(rgb.data());
            network.networkMs();
        }
        uint8_t const* labels = nullptr;
        for (int64_t i = 0; i < arguments.repeat; ++i) {
            networkMs.push_back(network.networkMs());
            auto const start = std::chrono::steady_clock::now();
            labels = network.segment(rgb.data());
            allMs.push_back(
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
        }
        if (!arguments.labels.empty()) {
            writeLabels(arguments.labels, frame, labels, network.size());
        }
    }
    std::printf("upload through download: %s\nnetwork alone:           %s\n", summaryOf(allMs).c_str(),
                summaryOf(networkMs).c_str());
    std::printf("%zu frame(s), %zu timed run(s) after %d untimed ones\n", frames.size(), allMs.size(), kUntimedRuns);
}

void run(Arguments const& arguments) {
    // What costs nothing to find out comes first.
    checkPrecision(arguments.fp16, arguments.int8);
    bool const isBuilt = arguments.onnx.empty();
    std::string const file = readFile(isBuilt ? arguments.engine : arguments.onnx,
                                      isBuilt ? "Build it on this device: hyperseg_run --onnx ... --save-engine ..."
                                              : "Give the NAME.PRECISION.trt.onnx of a bundle.");
    std::vector<fs::path> const frames =
        arguments.frames.empty() ? std::vector<fs::path>{} : listFrames(arguments.frames);
    if (!arguments.labels.empty()) {
        std::error_code ignored;  // checkWritable says it better
        fs::create_directories(arguments.labels, ignored);
        checkWritable(arguments.labels / "labels.pgm");
    }
    if (!isBuilt) {
        checkWritable(arguments.engine);
    }
    fs::path plugin;
    if (arguments.needsPlugin) {
        plugin = arguments.plugin.empty() ? defaultPlugin() : arguments.plugin;
        checkPlugin(plugin, NV_TENSORRT_MAJOR);
    }

    Gpu const gpu = openGpu();
    std::printf("%s, compute capability %s, TensorRT %s\n", gpu.name.c_str(), gpu.computeCapability.c_str(),
                tensorrtVersion().c_str());
    Logger logger;
    Engine const opened = makeEngine(arguments, plugin, file, logger);
    if (frames.empty()) {
        return;
    }
    Network network(*opened.engine, gpu, logger);
    if (!network.whyPlain().empty()) {
        std::printf("Frames run without a CUDA graph, so a little slower: %s\n", network.whyPlain().c_str());
    }
    segmentAll(network, frames, arguments);
}

}  // namespace

int main(int count, char** words) try {
    Arguments const arguments = parseArguments({words + 1, words + count});
    if (arguments.help) {
        std::fputs(kHelp, stdout);
    } else {
        run(arguments);
    }
    return 0;
} catch (UserError const& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return kUserError;
} catch (std::bad_alloc const&) {
    std::fputs("error: there is not enough memory. Close other programs.\n", stderr);
    return kUserError;
}

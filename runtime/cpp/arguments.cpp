#include "arguments.h"

#include <algorithm>

#include "user_error.h"

namespace hyperseg {

char const* const kHelp = R"(hyperseg_run --engine ENGINE --frames FRAMES [--labels FOLDER] [--repeat N]
hyperseg_run --onnx FILE.trt.onnx --save-engine ENGINE [--frames FRAMES ...]

Segments frames with TensorRT, says how long that takes, and writes the labels.

  --engine ENGINE       a TensorRT engine, built on this device
  --onnx FILE           build the engine from a bundle's NAME.PRECISION.trt.onnx; this takes minutes
  --save-engine ENGINE  where it goes
  --fp16, --int8        TensorRT 8.6 alone: what an fp16 or int8 FILE needs. From 10 on the file decides
  --workspace-mib N     GPU memory for intermediate results of a layer while building (default: all that the GPU has)
  --plugin LIBRARY      the network's operators (default: libhyperseg_plugins.so beside this program); none for an engine
                        that holds them itself (python -m runtime build --plugin aot)
  --frames FRAMES       a frame, or a folder of them: .ppm (P6), or .rgb (height x width x 3 bytes), of the size that
                        the network was exported for
  --labels FOLDER       writes the class of every pixel as FOLDER/NAME_labels.pgm (P5)
  --repeat N            runs every frame N times, for the latency's sake (default: 1)

A mistake of yours ends the program with exit code 2 and a message that says what to do.
)";

namespace {

constexpr char const* kSeeHelp = " See hyperseg_run --help";
constexpr char const* kBareOnnx = ".trt.onnx";
constexpr char const* kNoPlugin = "none";

bool endsWith(std::string const& text, std::string const& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

int64_t positive(std::string const& option, std::string const& text) {
    bool const digits =
        !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    int64_t const number = digits && text.size() <= 9 ? std::stoll(text) : 0;
    if (number < 1) {
        throw UserError(option + " is '" + text + "'; give a number from 1 to 999999999.");
    }
    return number;
}

void check(Arguments const& arguments, std::filesystem::path const& toRun, std::filesystem::path const& toWrite) {
    if (arguments.onnx.empty() == toRun.empty()) {
        throw UserError("Give either --engine, or --onnx with --save-engine." + std::string(kSeeHelp));
    }
    if (arguments.onnx.empty() != toWrite.empty()) {
        throw UserError("--onnx and --save-engine belong together: building takes minutes, so the engine is kept.");
    }
    if (!arguments.onnx.empty() && !endsWith(arguments.onnx.string(), kBareOnnx)) {
        throw UserError(arguments.onnx.string() + " does not end in " + kBareOnnx +
                        ": give the bundle's file for TensorRT, whose operators have no function bodies.");
    }
    if (arguments.onnx.empty() && (arguments.fp16 || arguments.int8 || arguments.workspaceMib)) {
        throw UserError("--fp16, --int8 and --workspace-mib are for building; --engine is built already.");
    }
    if (!arguments.onnx.empty() && !arguments.needsPlugin) {
        throw UserError("--plugin none is for --engine: what builds an engine here needs the plugin library.");
    }
    if (arguments.frames.empty() && (arguments.onnx.empty() || !arguments.labels.empty() || arguments.repeat > 1)) {
        throw UserError("Give --frames, a frame or a folder of them." + std::string(kSeeHelp));
    }
}

}  // namespace

Arguments parseArguments(std::vector<std::string> const& words) {
    Arguments arguments;
    std::filesystem::path toRun, toWrite;
    for (size_t i = 0; i < words.size(); ++i) {
        std::string const& option = words[i];
        auto const value = [&]() -> std::string const& {
            if (i + 1 == words.size() || words[i + 1].empty()) {
                throw UserError(option + " needs a value." + kSeeHelp);
            }
            return words[++i];
        };
        if (option == "--help" || option == "-h") {
            arguments.help = true;
            return arguments;
        } else if (option == "--engine") {
            toRun = value();
        } else if (option == "--onnx") {
            arguments.onnx = value();
        } else if (option == "--save-engine") {
            toWrite = value();
        } else if (option == "--fp16") {
            arguments.fp16 = true;
        } else if (option == "--int8") {
            arguments.int8 = true;
        } else if (option == "--workspace-mib") {
            arguments.workspaceMib = positive(option, value());
        } else if (option == "--plugin") {
            arguments.plugin = value();
            arguments.needsPlugin = arguments.plugin != kNoPlugin;
        } else if (option == "--frames") {
            arguments.frames = value();
        } else if (option == "--labels") {
            arguments.labels = value();
        } else if (option == "--repeat") {
            arguments.repeat = positive(option, value());
        } else {
            throw UserError("There is no option " + option + "." + kSeeHelp);
        }
    }
    check(arguments, toRun, toWrite);
    arguments.engine = toRun.empty() ? toWrite : toRun;
    return arguments;
}

}  // namespace hyperseg

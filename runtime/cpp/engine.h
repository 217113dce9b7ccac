// From an ONNX file to an engine's bytes, and from these to an engine.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "arguments.h"
#include "logger.h"

namespace hyperseg {

// Names in the exported network: image is uint8 RGB [N, height, width, 3], labels is integers [N, height, width].
inline constexpr char const* kImage = "image";
inline constexpr char const* kLabels = "labels";

// A runtime must outlive its engine, and the plugin library stays loaded as long as the runtime.
struct Engine {
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
};

// Builds the engine of an ONNX file's bytes for one frame at a time. Throws UserError.
std::unique_ptr<nvinfer1::IHostMemory> buildPlan(std::string const& onnx, Arguments const& arguments,
                                                 std::filesystem::path const& plugin, Logger& logger);

// Opens the bytes of an engine that is called name in messages; plugin is empty for one that holds its operators.
// Throws UserError.
Engine openEngine(void const* plan, size_t size, std::string const& name, std::filesystem::path const& plugin,
                  Logger& logger);

}  // namespace hyperseg

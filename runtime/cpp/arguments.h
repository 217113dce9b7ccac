// The command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace hyperseg {

// Paths that were not given are empty.
struct Arguments {
    bool help = false;
    std::filesystem::path engine;  // to run; with onnx, to write first
    std::filesystem::path onnx;
    bool fp16 = false;
    bool int8 = false;
    int64_t workspaceMib = 0;  // 0: all that the GPU has
    bool needsPlugin = true;   // false: the engine holds its operators
    std::filesystem::path plugin;
    std::filesystem::path frames;
    std::filesystem::path labels;
    int64_t repeat = 1;
};

extern char const* const kHelp;

// Reads the words after the program's name. Throws UserError.
Arguments parseArguments(std::vector<std::string> const& words);

}  // namespace hyperseg

// The plugin library, as a file: TensorRT says little about one that it cannot load, and 11 crashes on one for 10.
#pragma once

#include <filesystem>

namespace hyperseg {

// libhyperseg_plugins.so beside this program.
std::filesystem::path defaultPlugin();

// Opens the library without TensorRT. Throws UserError if it is missing, does not open, or is for another TensorRT.
void checkPlugin(std::filesystem::path const& library, int tensorrtMajor);

}  // namespace hyperseg

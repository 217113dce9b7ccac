// What TensorRT's and CUDA's own words point to.
#pragma once

#include <string>

namespace hyperseg {

// A sentence, after a space, on the likely cause and what to do; empty where the text points to none we know.
std::string likelyCause(std::string const& text);

}  // namespace hyperseg

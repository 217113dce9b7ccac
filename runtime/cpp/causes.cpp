#include "causes.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace hyperseg {

namespace {

struct Cause {
    std::vector<char const*> signs;  // in lower case
    char const* sentence;
};

// The first that matches counts.
std::vector<Cause> const& causes() {
    static std::vector<Cause> const list{
        {{"out of memory", "outofmemory", "insufficient memory", "memoryallocation", "cuda runtime error 2 "},
         "The GPU has too little free memory. Close other programs that use it; while building, give a smaller "
         "--workspace-mib."},
        {{"cuda initialization failure", "no cuda-capable device", "driver version is insufficient", "libcuda"},
         "There is no usable GPU: the NVIDIA driver is missing, does not run, or is too old for the CUDA version that "
         "this program or TensorRT was built with. nvidia-smi (on a Jetson: jetson_release) shows it; a container "
         "needs --gpus all or --runtime nvidia."},
        {{"plugin not found", "no importer registered", "could not find plugin", "creator not found", "getcreator",
          "getplugincreator"},
         "The plugin library lacks what the file needs. Build it again from the same version of this project: "
         "scripts/build_plugin.sh"},
        {{"no kernel image"}, "The plugin library holds no code for this GPU. Build it here: scripts/build_plugin.sh"},
        {{"dpwconv:", "dpwinvertedresidual:"},
         "The file does not fit the plugin library. Take both from the same version of this project: export again, "
         "and build the library with scripts/build_plugin.sh."},
        {{"version tag", "expecting library version", "serialization version", "plan file is not compatible"},
         "The engine is of another version of TensorRT."},
        {{"incompatible device", "expecting compute", "compute capability"}, "The engine is of another GPU."},
        {{"magic tag", "corrupt", "truncated", "unexpected end", "serialization"},
         "The engine is broken or incomplete: copy it again."},
    };
    return list;
}

}  // namespace

std::string likelyCause(std::string const& text) {
    std::string lower = text;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    for (Cause const& cause : causes()) {
        auto const occurs = [&](char const* sign) { return lower.find(sign) != std::string::npos; };
        if (std::any_of(cause.signs.begin(), cause.signs.end(), occurs)) {
            return std::string(" ") + cause.sentence;
        }
    }
    return "";
}

}  // namespace hyperseg

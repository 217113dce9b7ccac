#include "plugin.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "files.h"
#include "user_error.h"

namespace fs = std::filesystem;

namespace hyperseg {

namespace {

constexpr char const* kBuild = " Build it on this device: scripts/build_plugin.sh";
constexpr char const* kMark = "hyperseg_plugins for TensorRT ";  // a number follows

bool isFor(int major, std::string const& library, void* opened) {
    if (size_t const mark = library.find(kMark); mark != std::string::npos) {
        return std::atoi(library.c_str() + mark + std::string(kMark).size()) == major;
    }
    return dlsym(opened, major < 10 ? "getPluginCreators" : "getCreators") != nullptr;
}

}  // namespace

fs::path defaultPlugin() {
    std::error_code error;
    return fs::read_symlink("/proc/self/exe", error).replace_filename("libhyperseg_plugins.so");
}

void checkPlugin(fs::path const& library, int tensorrtMajor) {
    std::string const bytes =
        readFile(library, "It is the plugin library; --plugin names one elsewhere." + std::string(kBuild));
    void* const opened = dlopen(fs::absolute(library).c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (!opened) {
        throw UserError("The plugin library " + library.string() + " does not open: " + dlerror() +
                        ". It may be for another processor, or need a newer system." + kBuild);
    }
    bool const fits = isFor(tensorrtMajor, bytes, opened);
    dlclose(opened);
    if (!fits) {
        throw UserError(library.string() + " is not for TensorRT " + std::to_string(tensorrtMajor) +
                        ", and each major version needs a library of its own." + kBuild);
    }
}

}  // namespace hyperseg

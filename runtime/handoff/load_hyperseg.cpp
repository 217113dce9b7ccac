// Loads libhyperseg_plugins.so, which lies beside this library, into TensorRT's registry. For programs such as Triton,
// which open a plugin library with dlopen and expect it to register itself.
//
//   g++ -O2 -shared -fPIC load_hyperseg.cpp -o libload_hyperseg.so -I/usr/local/cuda/include -lnvinfer
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdio>
#include <string>

namespace {

__attribute__((constructor)) void load() {
    Dl_info self{};
    if (dladdr(reinterpret_cast<void*>(&load), &self) == 0) {
        std::fputs("HyperSeg: this library does not know where it lies.\n", stderr);
        return;
    }
    std::string const path(self.dli_fname);
    std::string const plugins = path.substr(0, path.rfind('/') + 1) + "libhyperseg_plugins.so";
    if (getPluginRegistry()->loadLibrary(plugins.c_str()) == nullptr) {
        std::fprintf(stderr, "HyperSeg: TensorRT cannot load %s.\n", plugins.c_str());
    }
}

}  // namespace

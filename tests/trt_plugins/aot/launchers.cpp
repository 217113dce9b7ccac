// The launchers for Python's ctypes, with what they launched: "kernel|grid x|grid y|threads|bytes of shared memory".
#include <cuda_runtime.h>
#include <cxxabi.h>
#include <dlfcn.h>

#include "../../../trt_plugins/kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "../../../trt_plugins/kernels/dpwconv/dpwconv.h"
#include "../../../trt_plugins/kernels/label_head/label_head.h"

std::string recording::nameOf(void const* function) {
    Dl_info info{};
    if (!dladdr(function, &info) || !info.dli_sname) return "a kernel without a name";
    int status = 0;
    char* const name = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
    std::string const result = status ? info.dli_sname : name;
    return std::free(name), result;
}

extern "C" {

// A GPU, and whether its launches run or are only written down.
void use_device(int multiprocessors, int grantedBytes, bool runs) {
    recording::multiprocessors = multiprocessors;
    recording::grantedBytes = grantedBytes;
    recording::runs = runs;
    recording::launched.clear();
}

char const* launched() { return recording::launched.c_str(); }

int dpwconv(hyperseg::DpwConvParams const* params) { return hyperseg::launchDpwConv(*params, nullptr); }

int dpw_inverted_residual(hyperseg::DpwInvertedResidualParams const* params) {
    return hyperseg::launchDpwInvertedResidual(*params, nullptr);
}

int label_head(hyperseg::LabelHeadParams const* params) { return hyperseg::launchLabelHead(*params, nullptr); }
}

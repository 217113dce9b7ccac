// The launchers as C functions, for Python's ctypes and for runner.cu; the parameters are the launchers' own structs.
#include <cstddef>

#include "../kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "../kernels/dpwconv/dpwconv.h"
#include "../kernels/label_head/label_head.h"

extern "C" {

// All return a cudaError_t; 0 is success.
int dpwconv(hyperseg::DpwConvParams const* params, cudaStream_t stream) {
    return hyperseg::launchDpwConv(*params, stream);
}

int dpw_inverted_residual(hyperseg::DpwInvertedResidualParams const* params, cudaStream_t stream) {
    return hyperseg::launchDpwInvertedResidual(*params, stream);
}

int label_head(hyperseg::LabelHeadParams const* params, cudaStream_t stream) {
    return hyperseg::launchLabelHead(*params, stream);
}

// Bytes of the structs, so that a caller that lays them out by itself can see that it agrees.
size_t dpwconv_params_size() { return sizeof(hyperseg::DpwConvParams); }

size_t dpw_inverted_residual_params_size() { return sizeof(hyperseg::DpwInvertedResidualParams); }

size_t label_head_params_size() { return sizeof(hyperseg::LabelHeadParams); }

char const* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }
}

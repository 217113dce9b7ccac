// The launchers as C functions, for Python's ctypes; the parameters are the launchers' own structs.
#include "../kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "../kernels/dpwconv/dpwconv.h"
#include "../kernels/label_head/label_head.h"

extern "C" {

int dpwconv(hyperseg::DpwConvParams const* params) { return hyperseg::launchDpwConv(*params, nullptr); }

int dpw_inverted_residual(hyperseg::DpwInvertedResidualParams const* params) {
    return hyperseg::launchDpwInvertedResidual(*params, nullptr);
}

int label_head(hyperseg::LabelHeadParams const* params) { return hyperseg::launchLabelHead(*params, nullptr); }

// 0 forward, 1 reverse, 2 shuffled.
void set_thread_order(int order) { hyperseg::cpu::setOrder(static_cast<hyperseg::cpu::Order>(order), 1); }
}

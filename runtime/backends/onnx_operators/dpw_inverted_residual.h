// DPWInvertedResidual and DPWInvertedResidualLevel: expand 1x1, depthwise, project 1x1, each patch with its own
// weights.
#pragma once

#include "patches.h"

namespace hyperseg {

class DpwInvertedResidual {
  public:
    DpwInvertedResidual(Attributes const& attributes, bool level);
    void compute(Context const& context) const;

  private:
    Common common_;
    ptrdiff_t hiddenChannels_;
    bool residual_;
};

struct DpwInvertedResidualOperator : DpwInvertedResidual {
    static constexpr char const* kName = "DPWInvertedResidual";
    static constexpr size_t kInputs = 5, kRequired = kInputs;
    explicit DpwInvertedResidualOperator(Attributes const& attributes) : DpwInvertedResidual(attributes, false) {}
};

struct DpwInvertedResidualLevelOperator : DpwInvertedResidual {
    static constexpr char const* kName = "DPWInvertedResidualLevel";
    static constexpr size_t kInputs = 6, kRequired = kInputs;
    explicit DpwInvertedResidualLevelOperator(Attributes const& attributes) : DpwInvertedResidual(attributes, true) {}
};

}  // namespace hyperseg

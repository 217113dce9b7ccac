// DPWConv and DPWConvLevel: each patch of a map is convolved with its own weights.
#pragma once

#include "patches.h"

namespace hyperseg {

class DpwConv {
  public:
    DpwConv(Attributes const& attributes, bool level);
    void compute(Context const& context) const;

  private:
    Common common_;
    ptrdiff_t group_;
};

struct DpwConvOperator : DpwConv {
    static constexpr char const* kName = "DPWConv";
    static constexpr size_t kInputs = 3, kRequired = kInputs;
    explicit DpwConvOperator(Attributes const& attributes) : DpwConv(attributes, false) {}
};

struct DpwConvLevelOperator : DpwConv {
    static constexpr char const* kName = "DPWConvLevel";
    static constexpr size_t kInputs = 4, kRequired = kInputs;
    explicit DpwConvLevelOperator(Attributes const& attributes) : DpwConv(attributes, true) {}
};

}  // namespace hyperseg

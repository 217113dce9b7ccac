// LabelHead: the largest logit at each pixel after bilinear enlargement.
#pragma once

#include "operator.h"

namespace hyperseg {

class LabelHeadOperator {
  public:
    static constexpr char const* kName = "LabelHead";
    static constexpr size_t kInputs = 1, kRequired = kInputs;
    explicit LabelHeadOperator(Attributes const& attributes);
    void compute(Context const& context) const;

  private:
    ptrdiff_t scale_;
};

}  // namespace hyperseg

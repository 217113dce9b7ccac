// MBConv: a block of EfficientNet.
#pragma once

#include <memory>
#include <mutex>

#include "operator.h"

namespace hyperseg {

class MBConv;

// MBConv(X, Wd, Bd, Ws, Bs, We, Be, Wp, Bp, Wx, Bx) -> Y: weights and biases as Conv has them, of the depthwise
// convolution, squeeze, excite, project and, where there is one, expand. All but X are the file's constants: they are
// rearranged at the first call. Attributes as Conv's: strides, pads; and residual, 1 to add X, else 0.
class MBConvOperator {
  public:
    static constexpr char const* kName = "MBConv";
    static constexpr size_t kInputs = 11, kRequired = 9;

    explicit MBConvOperator(Attributes const& attributes);
    ~MBConvOperator();
    void compute(Context const& context) const;

  private:
    std::vector<int64_t> strides, pads;
    bool residual;
    mutable std::once_flag rearranged;
    mutable std::unique_ptr<MBConv const> block;
};

}  // namespace hyperseg

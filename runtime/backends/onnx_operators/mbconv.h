// A block of EfficientNet in one pass over the expanded map: MBConv with swish and squeeze-and-excitation.
//
//   expand 1x1, swish -> depthwise, swish -> squeeze and excite -> project 1x1 -> + X
//
// The expanded map, six times as wide as X, is never stored: a thread expands a few rows of some channels, convolves
// them depthwise while they are in its cache, and writes that. The gates of squeeze-and-excitation need the mean over
// the whole map; they then scale the projection's weights instead of the map.
#pragma once

#include <cstddef>
#include <functional>

#include "gemm.h"

namespace hyperseg {

// Calls task(0) to task(total - 1), on any threads, in any order.
using RunTasks = std::function<void(size_t total, std::function<void(size_t)> const& task)>;

struct MBConvShape {
    static constexpr ptrdiff_t kMaxKernelHeight = 15;

    ptrdiff_t in, hidden, squeezed, out;  // channels
    ptrdiff_t kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft, padBottom, padRight;
    bool expand, residual;  // without expand hidden == in

    ptrdiff_t outHeight(ptrdiff_t height) const {
        return (height + padTop + padBottom - kernelHeight) / strideHeight + 1;
    }
    ptrdiff_t outWidth(ptrdiff_t width) const { return (width + padLeft + padRight - kernelWidth) / strideWidth + 1; }
};

// As ONNX has them: [channels out, channels in / group, kernel]; a bias has the channels out.
struct MBConvWeights {
    float const *expand, *expandBias;  // null without expand
    float const *depthwise, *depthwiseBias;
    float const *squeeze, *squeezeBias, *excite, *exciteBias;
    float const *project, *projectBias;
};

class MBConv {
  public:
    MBConv(MBConvShape const& shape, MBConvWeights const& weights);

    // x is [batch, in, height, width], y [batch, out, outHeight, outWidth].
    void operator()(float const* x, ptrdiff_t batch, ptrdiff_t height, ptrdiff_t width, float* y,
                    RunTasks const& runTasks) const;

  private:
    struct Call;
    void packRow(Call const& call, ptrdiff_t task) const;
    void convolveBand(Call const& call, ptrdiff_t task) const;
    void squeeze(Call const& call, ptrdiff_t sample) const;
    void gateWeights(Call const& call, ptrdiff_t task) const;
    void projectPixels(Call const& call, ptrdiff_t task) const;

    MBConvShape shape;
    // With channels rounded up to whole vectors. Weights are [vectors, in or taps, lanes], those of expand and project
    // [groups, in, lanes of the group].
    AlignedFloats expandWeights, expandBias, depthwiseWeights, depthwiseBias, squeezeWeights, squeezeBias,
        exciteWeights, exciteBias, projectWeights, projectBias;
};

}  // namespace hyperseg

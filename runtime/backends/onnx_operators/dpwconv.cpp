#include "dpwconv.h"

#include "direct.h"
#include "gemm.h"
#include "scratch.h"
#include "small_patches.h"

namespace hyperseg {

DpwConv::DpwConv(Attributes const& attributes, bool level)
    : common_(attributes, level), group_(attributes.integer("group")) {
    require(group_ > 0 && common_.outChannels % group_ == 0, "group does not divide out_channels");
}

void DpwConv::compute(Context const& context) const {
    Patches const patches = readPatches(context, common_);
    ptrdiff_t const inChannels = patches.map.channels();
    require(inChannels % group_ == 0, "group does not divide the input channels");
    ptrdiff_t const in = inChannels / group_, out = common_.outChannels / group_,
                    taps = common_.kernelHeight * common_.kernelWidth;
    checkTheta(patches, common_.weightOffset, common_.outChannels * in * taps);
    float const* bias = readBias(context, common_.level ? 3 : 2, common_.outChannels);
    float* const y = context.output({patches.batch, common_.outChannels, patches.map.height, patches.map.width});

    bool const pointwise = taps == 1;
    if (pointwise && group_ == 1 && SmallPatches::serves(patches)) {
        SmallPatches const small = {patches,     bias,        common_.weightOffset, common_.outChannels,
                                    common_.low, common_.high};
        patches.forEachRun(context.parallelFor, [&](Run const& run) { small.convolve(run, y); });
        return;
    }
    ptrdiff_t const windowWidth = patches.width + common_.kernelWidth - 1;
    ptrdiff_t const rows = rowsAtATime(patches.height, inChannels * windowWidth + common_.outChannels * patches.width);
    ptrdiff_t const xStride = roundUp((rows + common_.kernelHeight - 1) * windowWidth, kLanes);
    ptrdiff_t const yStride = roundUp(rows * patches.width, kLanes);
    ptrdiff_t const thetaOfGroup = pointwise ? packedSize(out, in) : out * in * taps;
    ptrdiff_t const thetaStride = roundUp(group_ * thetaOfGroup, kLanes);

    patches.forEachRun(context.parallelFor, [&](Run const& run) {
        float* const theta =
            scratch<DpwConv>(kRun * thetaStride + inChannels * xStride + common_.outChannels * yStride + 2 * kLanes);
        float* const x = theta + kRun * thetaStride;
        float* const result = x + inChannels * xStride + kLanes;
        for (ptrdiff_t g = 0; g < group_ && pointwise; ++g)
            packTheta(patches, run, common_.weightOffset + g * out * in, out, in, theta + g * thetaOfGroup,
                      thetaStride);
        if (!pointwise)
            copyTheta(patches, run, common_.weightOffset, common_.outChannels * in * taps, theta, thetaStride);

        for (ptrdiff_t patch = 0; patch < run.patches; ++patch) {
            float const* weight = theta + patch * thetaStride;
            for (ptrdiff_t row = 0; row < patches.height; row += rows) {
                ptrdiff_t const height = std::min(rows, patches.height - row);
                Window const window = {run.row * patches.height + row - common_.kernelHeight / 2,
                                       (run.column + patch) * patches.width - common_.kernelWidth / 2,
                                       height + common_.kernelHeight - 1, windowWidth};
                readWindow(patches.map, run.sample, window, common_.mode, x, xStride);
                if (pointwise)
                    for (ptrdiff_t g = 0; g < group_; ++g)
                        convolve(PointwiseConv{weight + g * thetaOfGroup, bias + g * out, out, in, common_.low,
                                               common_.high},
                                 x + g * in * xStride, xStride, height * patches.width, result + g * out * yStride,
                                 yStride);
                else
                    convolve(DirectConv{weight, bias, common_.outChannels, out, in, common_.kernelHeight,
                                        common_.kernelWidth, common_.low, common_.high},
                             x, xStride, result, yStride, height, patches.width);
                writeRows(patches, run, patch, row, height, common_.outChannels, result, yStride, y);
            }
        }
    });
}

}  // namespace hyperseg

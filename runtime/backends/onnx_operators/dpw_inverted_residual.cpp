#include "dpw_inverted_residual.h"

#include <cstring>

#include "direct.h"
#include "gemm.h"
#include "scratch.h"

namespace hyperseg {
namespace {

void addMap(Patches const& patches, Run const& run, ptrdiff_t patch, ptrdiff_t firstRow, ptrdiff_t rows, float* to,
            ptrdiff_t stride) {
    Map const& map = patches.map;
    ptrdiff_t const top = run.row * patches.height + firstRow, left = (run.column + patch) * patches.width;
    for (ptrdiff_t channel = 0; channel < map.skipChannels; ++channel)
        for (ptrdiff_t row = 0; row < rows; ++row) {
            float const* x =
                map.skip + ((run.sample * map.skipChannels + channel) * map.height + top + row) * map.width;
            for (ptrdiff_t column = 0; column < patches.width; ++column)
                to[channel * stride + row * patches.width + column] += x[left + column];
        }
}

}  // namespace

DpwInvertedResidual::DpwInvertedResidual(Attributes const& attributes, bool level)
    : common_(attributes, level),
      hiddenChannels_(attributes.integer("hidden_channels")),
      residual_(!level && attributes.integer("residual")) {
    require(hiddenChannels_ > 0, "hidden_channels is not positive");
}

// A patch is worked on from top to bottom. The hidden rows that the next rows need too, the kernel's height less one,
// are kept: no hidden value is computed twice.
void DpwInvertedResidual::compute(Context const& context) const {
    Patches const patches = readPatches(context, common_);
    ptrdiff_t const inChannels = patches.map.channels(), taps = common_.kernelHeight * common_.kernelWidth;
    require(!residual_ || inChannels == common_.outChannels, "a residual needs as many input as output channels");
    ptrdiff_t const depthwiseOffset = common_.weightOffset + hiddenChannels_ * inChannels;
    ptrdiff_t const projectOffset = depthwiseOffset + hiddenChannels_ * taps;
    checkTheta(patches, common_.weightOffset, hiddenChannels_ * (inChannels + taps + common_.outChannels));
    size_t const firstBias = common_.level ? 3 : 2;
    float const* bias1 = readBias(context, firstBias, hiddenChannels_);
    float const* bias2 = readBias(context, firstBias + 1, hiddenChannels_);
    float const* bias3 = readBias(context, firstBias + 2, common_.outChannels);
    float* const y = context.output({patches.batch, common_.outChannels, patches.map.height, patches.map.width});

    ptrdiff_t const width = patches.width, windowWidth = width + common_.kernelWidth - 1,
                    kept = common_.kernelHeight - 1;
    ptrdiff_t const rows = rowsAtATime(
        patches.height, (inChannels + hiddenChannels_) * windowWidth + (hiddenChannels_ + common_.outChannels) * width);
    ptrdiff_t const xStride = roundUp((rows + kept) * windowWidth, kLanes);
    ptrdiff_t const hiddenStride = roundUp(kept * windowWidth + roundUp(rows * windowWidth, kLanes), kLanes);
    ptrdiff_t const stride = roundUp(rows * width, kLanes);  // of depthwise and project
    ptrdiff_t const expandSize = packedSize(hiddenChannels_, inChannels), depthwiseSize = hiddenChannels_ * taps;
    ptrdiff_t const thetaStride =
        roundUp(expandSize + depthwiseSize + packedSize(common_.outChannels, hiddenChannels_), kLanes);

    patches.forEachRun(context.parallelFor, [&](Run const& run) {
        float* const theta =
            scratch<DpwInvertedResidual>(kRun * thetaStride + inChannels * xStride + hiddenChannels_ * hiddenStride +
                                         (hiddenChannels_ + common_.outChannels) * stride + 2 * kLanes);
        float* const x = theta + kRun * thetaStride;
        float* const hidden = x + inChannels * xStride;
        float* const convolved = hidden + hiddenChannels_ * hiddenStride + kLanes;
        float* const result = convolved + hiddenChannels_ * stride + kLanes;
        packTheta(patches, run, common_.weightOffset, hiddenChannels_, inChannels, theta, thetaStride);
        copyTheta(patches, run, depthwiseOffset, depthwiseSize, theta + expandSize, thetaStride);
        packTheta(patches, run, projectOffset, common_.outChannels, hiddenChannels_, theta + expandSize + depthwiseSize,
                  thetaStride);

        for (ptrdiff_t patch = 0; patch < run.patches; ++patch) {
            float const* weight = theta + patch * thetaStride;
            PointwiseConv const expand = {weight, bias1, hiddenChannels_, inChannels, common_.low, common_.high};
            DirectConv const depthwise = {weight + expandSize, bias2,       hiddenChannels_, 1, 1, common_.kernelHeight,
                                          common_.kernelWidth, common_.low, common_.high};
            PointwiseConv const project = {weight + expandSize + depthwiseSize,
                                           bias3,
                                           common_.outChannels,
                                           hiddenChannels_,
                                           -kInfinity,
                                           kInfinity};
            for (ptrdiff_t row = 0; row < patches.height; row += rows) {
                ptrdiff_t const height = std::min(rows, patches.height - row);
                ptrdiff_t const old = row == 0 ? 0 : kept;
                if (old)
                    for (ptrdiff_t channel = 0; channel < hiddenChannels_; ++channel)
                        std::memmove(hidden + channel * hiddenStride,
                                     hidden + channel * hiddenStride + rows * windowWidth,
                                     static_cast<size_t>(kept * windowWidth) * sizeof(float));
                Window const window = {run.row * patches.height + row - common_.kernelHeight / 2 + old,
                                       (run.column + patch) * width - common_.kernelWidth / 2, height + kept - old,
                                       windowWidth};
                readWindow(patches.map, run.sample, window, common_.mode, x, xStride);
                convolve(expand, x, xStride, window.height * windowWidth, hidden + old * windowWidth, hiddenStride);
                convolve(depthwise, hidden, hiddenStride, convolved, stride, height, width);
                convolve(project, convolved, stride, height * width, result, stride);
                if (residual_) addMap(patches, run, patch, row, height, result, stride);
                writeRows(patches, run, patch, row, height, common_.outChannels, result, stride, y);
            }
        }
    });
}

}  // namespace hyperseg

#include "small_patches.h"

#include "gemm.h"
#include "rows.h"
#include "scratch.h"

namespace hyperseg {
namespace {

struct Lanewise {
    float const* weight;  // of kLanes patches; of the next input channel weightStep on, of the next output, outStep on
    ptrdiff_t weightStep, outStep;
    float const* x;  // [in, pixels, kRun]
    float* y;        // [out, pixels, kRun]
    ptrdiff_t in, pixels;
};

template <int Outs, int Pixels>
inline void convolveTile(Lanewise const& conv, ptrdiff_t out, ptrdiff_t pixel, float const* bias, float low,
                         float high) {
    Floats sums[Outs][Pixels];
    for (int o = 0; o < Outs; ++o)
        for (int p = 0; p < Pixels; ++p) sums[o][p] = Floats{} + bias[out + o];
    float const* weight = conv.weight + out * conv.outStep;
    float const* x = conv.x + pixel * kRun;
    for (ptrdiff_t i = 0; i < conv.in; ++i, weight += conv.weightStep, x += conv.pixels * kRun) {
        for (int o = 0; o < Outs; ++o) {
            __builtin_prefetch(weight + o * conv.outStep + kFetchedAhead * conv.weightStep);
            Floats const w = load(weight + o * conv.outStep);
            for (int p = 0; p < Pixels; ++p) sums[o][p] += w * load(x + p * kRun);
        }
    }
    for (int o = 0; o < Outs; ++o)
        for (int p = 0; p < Pixels; ++p)
            store(conv.y + ((out + o) * conv.pixels + pixel + p) * kRun, clamp(sums[o][p], low, high));
}

template <int Outs, int Pixels>
inline void convolvePixels(Lanewise const& conv, ptrdiff_t outs, ptrdiff_t pixel, float const* bias, float low,
                           float high) {
    ptrdiff_t out = 0;
    for (; out + Outs <= outs; out += Outs) convolveTile<Outs, Pixels>(conv, out, pixel, bias, low, high);
    for (; out < outs; ++out) convolveTile<1, Pixels>(conv, out, pixel, bias, low, high);
}

}  // namespace

void SmallPatches::convolve(Run const& run, float* y) const {
    Map const& map = patches.map;
    ptrdiff_t const in = map.channels(), pixels = patches.height * patches.width, width = run.patches * patches.width;
    ptrdiff_t const windowStride = patches.height * width;
    float* const window = scratch<SmallPatches>(
        static_cast<size_t>(in * windowStride + kLanes + (in + out) * pixels * kRun + in * out * kRun + width));
    float* const x = window + in * windowStride + kLanes;
    float* const result = x + in * pixels * kRun;
    float* const copied = result + out * pixels * kRun;
    float* const row = copied + in * out * kRun;

    Window const all = {run.row * patches.height, run.column * patches.width, patches.height, width};
    readWindow(map, run.sample, all, PadMode::constant, window, windowStride);
    for (ptrdiff_t i = 0; i < in * patches.height; ++i)
        for (ptrdiff_t column = 0; column < patches.width; ++column)
            for (ptrdiff_t patch = 0; patch < run.patches; ++patch)
                x[(i * patches.width + column) * kRun + patch] = window[i * width + patch * patches.width + column];

    float const* weight = patches.theta(run, weightOffset);
    ptrdiff_t step = patches.rows * patches.columns;
    if (weight + (in * out - 1) * step + kRun > patches.weightEnd()) {  // the last vectors would reach beyond W
        for (ptrdiff_t k = 0; k < in * out; ++k) copyRow(copied + k * kRun, weight + k * step, run.patches);
        weight = copied;
        step = kRun;
    }
    for (ptrdiff_t patch = 0; patch < run.patches; patch += kLanes) {
        Lanewise const conv = {weight + patch, step, in * step, x + patch, result + patch, in, pixels};
        ptrdiff_t pixel = 0;
        for (; pixel + 4 <= pixels; pixel += 4) convolvePixels<kScalars / 2, 4>(conv, out, pixel, bias, low, high);
        for (; pixel < pixels; ++pixel) convolvePixels<kScalars, 1>(conv, out, pixel, bias, low, high);
    }

    for (ptrdiff_t o = 0; o < out; ++o)
        for (ptrdiff_t line = 0; line < patches.height; ++line) {
            for (ptrdiff_t column = 0; column < patches.width; ++column)
                for (ptrdiff_t patch = 0; patch < run.patches; ++patch)
                    row[patch * patches.width + column] =
                        result[(o * pixels + line * patches.width + column) * kRun + patch];
            copyRow(y + ((run.sample * out + o) * map.height + all.top + line) * map.width + all.left, row, width);
        }
}

}  // namespace hyperseg

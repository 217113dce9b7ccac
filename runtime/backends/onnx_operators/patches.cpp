#include "patches.h"

#include "gemm.h"
#include "rows.h"

namespace hyperseg {

Common::Common(Attributes const& attributes, bool level)
    : level(level),
      positions(level ? attributes.integer("positions") : 0),
      outChannels(attributes.integer("out_channels")),
      weightOffset(attributes.integer("weight_offset", 0)) {
    auto const kernel = attributes.integers("kernel_shape");
    auto const padMode = attributes.text("pad_mode"), activation = attributes.text("activation");
    require(positions == 0 || positions == 1, "positions is neither 0 nor 1");
    require(outChannels > 0, "out_channels is not positive");
    require(kernel.size() == 2 && kernel[0] > 0 && kernel[1] > 0 && kernel[0] % 2 && kernel[1] % 2,
            "kernel_shape is not two odd numbers");
    require(padMode == "reflect" || padMode == "constant", "pad_mode is neither reflect nor constant");
    require(activation == "none" || activation == "relu" || activation == "relu6", "activation is unknown");
    kernelHeight = kernel[0];
    kernelWidth = kernel[1];
    mode = padMode == "reflect" ? PadMode::reflect : PadMode::constant;
    low = activation == "none" ? -kInfinity : 0;
    high = activation == "relu6" ? 6 : kInfinity;
}

Patches readPatches(Context const& context, Common const& common) {
    bool const level = common.level;
    Tensor const skip = context.input(0);
    Tensor const previous = level ? context.input(1) : Tensor{};
    Tensor const weight = context.input(level ? 2 : 1);
    require(skip.shape.size() == 4 && weight.shape.size() == 4, "a map and W have four dimensions");
    ptrdiff_t const n = skip.shape[0], height = skip.shape[2], width = skip.shape[3];
    Patches patches = {};
    patches.coordinates.resize(static_cast<size_t>(common.positions ? width : 0));
    for (size_t column = 0; column < patches.coordinates.size(); ++column)
        patches.coordinates[column] = coordinate(static_cast<ptrdiff_t>(column), width);
    patches.map = {skip.data, previous.data, patches.coordinates.data(), skip.shape[1], 0, common.positions,
                   height,    width};
    if (level) {
        auto const& shape = previous.shape;
        require(shape.size() == 4 && shape[0] == n && 2 * shape[2] == height && 2 * shape[3] == width,
                "P is not of half the height and width of S");
        patches.map.previousChannels = shape[1];
    }
    patches.weight = weight.data;
    patches.batch = n;
    patches.weightChannels = weight.shape[1];
    patches.rows = weight.shape[2];
    patches.columns = weight.shape[3];
    require(weight.shape[0] == n, "W is not of the map's batch size");
    require(patches.rows > 0 && patches.columns > 0 && height > 0 && width > 0 && height % patches.rows == 0 &&
                width % patches.columns == 0,
            "the map cannot be cut into equal patches");
    require(common.mode == PadMode::constant || (common.kernelHeight / 2 < height && common.kernelWidth / 2 < width),
            "the map is too small to be mirrored");
    patches.height = height / patches.rows;
    patches.width = width / patches.columns;
    return patches;
}

void checkTheta(Patches const& patches, ptrdiff_t offset, ptrdiff_t size) {
    require(offset >= 0 && size > 0 && offset + size <= patches.weightChannels, "W has too few channels");
}

float const* readBias(Context const& context, size_t input, ptrdiff_t channels) {
    Tensor const bias = context.input(input);
    require(bias.shape.size() == 1 && bias.shape[0] == channels, "a bias is not of its channels' number");
    return bias.data;
}

void copyTheta(Patches const& patches, Run const& run, ptrdiff_t offset, ptrdiff_t size, float* to, ptrdiff_t stride) {
    float const* theta = patches.theta(run, offset);
    ptrdiff_t const step = patches.rows * patches.columns;
    for (ptrdiff_t k = 0; k < size; ++k) {
        __builtin_prefetch(theta + (k + kFetchedAhead) * step);
        for (ptrdiff_t patch = 0; patch < run.patches; ++patch) to[patch * stride + k] = theta[k * step + patch];
    }
}

void packTheta(Patches const& patches, Run const& run, ptrdiff_t offset, ptrdiff_t out, ptrdiff_t in, float* to,
               ptrdiff_t stride) {
    float const* theta = patches.theta(run, offset);
    ptrdiff_t const step = patches.rows * patches.columns;
    for (ptrdiff_t first = 0; first < out; first += kScalars) {
        ptrdiff_t const scalars = std::min<ptrdiff_t>(kScalars, out - first);
        for (ptrdiff_t i = 0; i < in; ++i) {
            float* packed = to + packedIndex(first, i, in);
            for (ptrdiff_t s = 0; s < kScalars; ++s) {
                float const* weights = theta + ((first + s) * in + i) * step;
                __builtin_prefetch(weights + kFetchedAhead * step);
                for (ptrdiff_t patch = 0; patch < run.patches; ++patch)
                    packed[patch * stride + s] = s < scalars ? weights[patch] : 0;
            }
        }
    }
}

void writeRows(Patches const& patches, Run const& run, ptrdiff_t patch, ptrdiff_t firstRow, ptrdiff_t rows,
               ptrdiff_t channels, float const* from, ptrdiff_t stride, float* y) {
    ptrdiff_t const height = patches.map.height, width = patches.map.width;
    ptrdiff_t const top = run.row * patches.height + firstRow, left = (run.column + patch) * patches.width;
    for (ptrdiff_t channel = 0; channel < channels; ++channel) {
        float* to = y + ((run.sample * channels + channel) * height + top) * width + left;
        for (ptrdiff_t row = 0; row < rows; ++row)
            copyRow(to + row * width, from + channel * stride + row * patches.width, patches.width);
    }
}

ptrdiff_t rowsAtATime(ptrdiff_t height, ptrdiff_t floatsPerRow) {
    constexpr ptrdiff_t kFloats = 32768;  // 128 KB
    ptrdiff_t const most = std::max<ptrdiff_t>(kFloats / floatsPerRow, 1);
    ptrdiff_t const steps = (height + most - 1) / most;
    return (height + steps - 1) / steps;
}

}  // namespace hyperseg

#include "mbconv_operator.h"

#include "mbconv.h"

namespace hyperseg {
namespace {

enum Input {
    kX,
    kDepthwise,
    kDepthwiseBias,
    kSqueeze,
    kSqueezeBias,
    kExcite,
    kExciteBias,
    kProject,
    kProjectBias,
    kExpand,
    kExpandBias
};

std::vector<Tensor> readInputs(Context const& context) {
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < MBConvOperator::kInputs; ++i) inputs.push_back(context.input(i));
    return inputs;
}

bool isPointwise(Tensor const& weight, ptrdiff_t out, ptrdiff_t in) {
    return weight.shape == std::vector<int64_t>{out, in, 1, 1};
}

bool isBias(Tensor const& bias, ptrdiff_t channels) { return bias.shape == std::vector<int64_t>{channels}; }

MBConvShape shapeOf(std::vector<Tensor> const& inputs, std::vector<int64_t> const& strides,
                    std::vector<int64_t> const& pads, bool residual) {
    for (size_t i = 0; i < inputs.size(); ++i) {
        bool const bias = i == kX ? false : i % 2 == 0;
        require((i >= kExpand && !inputs[i].data) || inputs[i].shape.size() == (bias ? 1 : 4),
                "X and weights have four dimensions, biases one");
        require(std::count(inputs[i].shape.begin(), inputs[i].shape.end(), 0) == 0, "a tensor is empty");
    }
    require(!inputs[kExpand].data == !inputs[kExpandBias].data, "expand has a weight and a bias, or neither");
    MBConvShape shape;
    auto const& kernel = inputs[kDepthwise].shape;
    shape.in = inputs[kX].shape[1];
    shape.hidden = kernel[0];
    shape.squeezed = inputs[kSqueeze].shape[0];
    shape.out = inputs[kProject].shape[0];
    shape.kernelHeight = kernel[2];
    shape.kernelWidth = kernel[3];
    shape.strideHeight = strides[0];
    shape.strideWidth = strides[1];
    shape.padTop = pads[0];
    shape.padLeft = pads[1];
    shape.padBottom = pads[2];
    shape.padRight = pads[3];
    shape.expand = inputs[kExpand].data;
    shape.residual = residual;

    require(shape.kernelHeight <= MBConvShape::kMaxKernelHeight, "the kernel is more than 15 high");
    require(kernel[1] == 1 && isBias(inputs[kDepthwiseBias], shape.hidden) &&
                isPointwise(inputs[kSqueeze], shape.squeezed, shape.hidden) &&
                isBias(inputs[kSqueezeBias], shape.squeezed) &&
                isPointwise(inputs[kExcite], shape.hidden, shape.squeezed) &&
                isBias(inputs[kExciteBias], shape.hidden) && isPointwise(inputs[kProject], shape.out, shape.hidden) &&
                isBias(inputs[kProjectBias], shape.out),
            "the shapes of the weights do not fit together");
    if (shape.expand)
        require(isPointwise(inputs[kExpand], shape.hidden, shape.in) && isBias(inputs[kExpandBias], shape.hidden),
                "the shape of the expansion's weight or bias does not fit");
    else
        require(shape.in == shape.hidden, "without expansion X has the channels of the depthwise convolution");
    return shape;
}

}  // namespace

MBConvOperator::MBConvOperator(Attributes const& attributes)
    : strides(attributes.integers("strides")),
      pads(attributes.integers("pads")),
      residual(attributes.integer("residual") != 0) {
    require(strides.size() == 2 && strides[0] > 0 && strides[1] > 0, "strides are not two positive numbers");
    require(pads.size() == 4 && *std::min_element(pads.begin(), pads.end()) >= 0, "pads are not four numbers from 0");
}

MBConvOperator::~MBConvOperator() = default;

void MBConvOperator::compute(Context const& context) const {
    auto const inputs = readInputs(context);
    MBConvShape const shape = shapeOf(inputs, strides, pads, residual);
    auto const& x = inputs[kX].shape;
    ptrdiff_t const height = shape.outHeight(x[2]), width = shape.outWidth(x[3]);
    require(x[2] + shape.padTop + shape.padBottom >= shape.kernelHeight &&
                x[3] + shape.padLeft + shape.padRight >= shape.kernelWidth,
            "the map is smaller than the kernel");
    require(!residual || (shape.out == shape.in && height == x[2] && width == x[3]),
            "X, which is to be added, does not have the shape of Y");
    std::call_once(rearranged, [&] {
        auto const of = [&](Input input) { return inputs[input].data; };
        block = std::make_unique<MBConv const>(
            shape, MBConvWeights{of(kExpand), of(kExpandBias), of(kDepthwise), of(kDepthwiseBias), of(kSqueeze),
                                 of(kSqueezeBias), of(kExcite), of(kExciteBias), of(kProject), of(kProjectBias)});
    });
    float* const y = context.output({x[0], shape.out, height, width});
    (*block)(inputs[kX].data, x[0], x[2], x[3], y,
             [&](size_t total, std::function<void(size_t)> const& task) { context.parallelFor(total, task); });
}

}  // namespace hyperseg

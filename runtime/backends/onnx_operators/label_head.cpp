#include "label_head.h"

#include <algorithm>

#include "gemm.h"
#include "map.h"
#include "scratch.h"

namespace hyperseg {
namespace {

// The first of equals stays, and the first NaN wins, as in torch.argmax.
void takeLarger(float const* values, ptrdiff_t size, float label, float* __restrict best, float* __restrict labels) {
    for (ptrdiff_t i = 0; i < size; ++i) {
        bool const larger = !(values[i] <= best[i]) & (best[i] == best[i]);
        best[i] = larger ? values[i] : best[i];
        labels[i] = larger ? label : labels[i];
    }
}

void enlarge(float const* upper, float const* lower, float below, Taps const* columns, ptrdiff_t size, float* to) {
    float const above = 1 - below;
    for (ptrdiff_t i = 0; i < size; ++i) {
        auto const [first, second, right] = columns[i];
        float const left = 1 - right;
        to[i] = above * (left * upper[first] + right * upper[second]) +
                below * (left * lower[first] + right * lower[second]);
    }
}

}  // namespace

LabelHeadOperator::LabelHeadOperator(Attributes const& attributes) : scale_(attributes.integer("scale")) {
    require(scale_ >= 1 && scale_ <= 64, "scale is not from 1 to 64");
}

// Row by row of the labels: neither the enlarged logits nor the largest of them leave the first cache.
void LabelHeadOperator::compute(Context const& context) const {
    Tensor const logits = context.input(0);
    ptrdiff_t const scale = scale_;
    require(logits.shape.size() == 4, "the logits have four dimensions");
    ptrdiff_t const classes = logits.shape[1], height = logits.shape[2], width = logits.shape[3];
    require(classes >= 1 && classes <= 256, "LabelHead takes 1 to 256 classes");
    ptrdiff_t const rows = height * scale, columns = width * scale;
    float* const y = context.output({logits.shape[0], rows, columns});

    std::vector<Taps> taps(static_cast<size_t>(scale > 2 ? columns : 0));
    for (size_t column = 0; column < taps.size(); ++column)
        taps[column] = tapsOf(static_cast<ptrdiff_t>(column), scale, width);

    constexpr ptrdiff_t kRows = 8;  // an item of work
    ptrdiff_t const items = (rows + kRows - 1) / kRows;
    context.parallelFor(static_cast<size_t>(logits.shape[0] * items), [&](size_t index) {
        ptrdiff_t const sample = static_cast<ptrdiff_t>(index) / items,
                        firstRow = static_cast<ptrdiff_t>(index) % items * kRows;
        ptrdiff_t const stride = roundUp(columns, kLanes);
        float* const best = scratch<LabelHeadOperator>(static_cast<size_t>(2 * stride));
        float* const enlarged = best + stride;
        for (ptrdiff_t row = firstRow; row < std::min(firstRow + kRows, rows); ++row) {
            float* const labels = y + (sample * rows + row) * columns;
            Taps const around = tapsOf(row, scale, height);
            for (ptrdiff_t c = 0; c < classes; ++c) {
                float const* map = logits.data + (sample * classes + c) * height * width;
                float const* upper = map + around.first * width;
                float const* lower = map + around.second * width;
                float const* values = upper;
                if (scale == 2)
                    enlargeTwice(upper, lower, around.weight, width, 0, columns, enlarged), values = enlarged;
                else if (scale > 2)
                    enlarge(upper, lower, around.weight, taps.data(), columns, enlarged), values = enlarged;
                if (c == 0) {
                    std::copy(values, values + columns, best);
                    std::fill(labels, labels + columns, 0.0f);
                } else {
                    takeLarger(values, columns, static_cast<float>(c), best, labels);
                }
            }
        }
    });
}

}  // namespace hyperseg

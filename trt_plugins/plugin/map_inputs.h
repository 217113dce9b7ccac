// The inputs of which an operator's map X consists: X itself, or a level's skip map S and previous level P.
#pragma once

#include "../kernels/map.h"
#include "shapes.h"

namespace hyperseg {

struct MapInputs {
    bool isLevel;
    int32_t positions = 0;  // of a level: 1 if X begins with two channels of coordinates

    int32_t count() const { return isLevel ? 2 : 1; }

    Problem check(Shape const* inputs) const { return isLevel ? checkPrevious(inputs[0], inputs[1]) : Problem{}; }

    // The shape of X.
    Shape shape(Shape const* inputs) const {
        Shape x = inputs[0];
        if (isLevel && x.dims[1] != kUnknown) {
            int64_t const previous = inputs[1].dims[1];
            x.dims[1] = previous == kUnknown ? kUnknown : 2 * positions + x.dims[1] + previous;
        }
        return x;
    }

    Map map(Shape const* inputs, void const* const* data) const {
        auto const channels = [&](int32_t input) { return static_cast<int32_t>(inputs[input].dims[1]); };
        return isLevel ? Map{data[0], data[1], channels(0), channels(1), positions}
                       : Map{data[0], nullptr, channels(0), 0, 0};
    }
};

}  // namespace hyperseg

// Short rows of floats, as long as a patch is wide; and what vectors can do with them beside arithmetic.
#pragma once

#include <cstddef>
#include <cstring>

#include "gemm.h"

namespace hyperseg {

template <size_t Floats>
inline void copyFloats(float* to, float const* from) {
    std::memcpy(to, from, Floats * sizeof(float));
}

// For such rows a call of memcpy costs more than the copy.
inline void copyRow(float* to, float const* from, ptrdiff_t size) {
    ptrdiff_t i = 0;
    for (; i + kLanes <= size; i += kLanes) copyFloats<kLanes>(to + i, from + i);
    if (kLanes > 8 && (size & 8)) copyFloats<8>(to + i, from + i), i += 8;
    if (kLanes > 4 && (size & 4)) copyFloats<4>(to + i, from + i), i += 4;
    if (size & 2) copyFloats<2>(to + i, from + i), i += 2;
    if (size & 1) to[i] = from[i];
}

typedef int32_t Lanes __attribute__((vector_size(kLanes * sizeof(int32_t))));

// Lane i of the result is lane lanes[i] of the values.
inline Floats shuffle(Floats values, Lanes lanes) {
#ifdef __clang__
    Floats shuffled = {};
    for (int lane = 0; lane < kLanes; ++lane) shuffled[lane] = values[lanes[lane]];
    return shuffled;
#else
    return __builtin_shuffle(values, lanes);
#endif
}

}  // namespace hyperseg

// Sigmoid and swish on vectors.
#pragma once

#include "gemm.h"

namespace hyperseg {

// e^-x to about 1e-6 of its value for |x| <= 87, and as at the bound beyond. For NaN it is a number.
inline Floats exponentialOfMinus(Floats x) {
    typedef int32_t Ints __attribute__((vector_size(sizeof(Floats))));
    typedef uint32_t Naturals __attribute__((vector_size(sizeof(Floats))));
    constexpr int32_t k87 = 0x42AE0000;        // the bits of 87: positive floats are in the order of their bits,
    constexpr uint32_t kMinus87 = 0xC2AE0000;  // and of the natural numbers the negative ones are the largest
    constexpr float kRound = 12582912.f;       // 1.5 * 2^23: adding it leaves the integer in the low bits
    constexpr float kMinusLog2E = -1.44269504f;

    Ints positive;
    Naturals negative;
    std::memcpy(&positive, &x, sizeof x);
    positive = positive < k87 ? positive : k87 - Ints{};
    std::memcpy(&negative, &positive, sizeof x);
    negative = negative < kMinus87 ? negative : kMinus87 - Naturals{};
    std::memcpy(&x, &negative, sizeof x);

    Floats const rounded = x * kMinusLog2E + kRound;  // e^-x = 2^(n + f), |f| <= 1/2
    Floats const f = x * kMinusLog2E - (rounded - kRound);
    Floats power = f * 1.32764701e-3f + 9.67554189e-3f;  // 2^f by least squares of the relative error: 1e-7
    power = power * f + 0.0555071346f;
    power = power * f + 0.240221202f;
    power = power * f + 0.693146944f;
    power = power * f + 1.00000012f;

    Ints bits, n;
    std::memcpy(&bits, &power, sizeof x);
    std::memcpy(&n, &rounded, sizeof x);
    bits += n << 23;
    std::memcpy(&power, &bits, sizeof x);
    return power;
}

inline Floats sigmoid(Floats x) { return x == x ? 1.f / (1.f + exponentialOfMinus(x)) : x; }
inline Floats swish(Floats x) { return x / (1.f + exponentialOfMinus(x)); }

}  // namespace hyperseg

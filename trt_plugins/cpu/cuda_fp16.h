// The part of CUDA's cuda_fp16.h that the kernels use, for running them on the CPU.
#pragma once

struct alignas(2) __half {
    _Float16 value;
};

inline unsigned short __half_as_ushort(__half value) {
    unsigned short bits;
    __builtin_memcpy(&bits, &value, 2);
    return bits;
}
inline __half __ushort_as_half(unsigned short bits) {
    __half value;
    __builtin_memcpy(&value, &bits, 2);
    return value;
}
inline float __half2float(__half value) { return static_cast<float>(value.value); }
inline __half __float2half(float value) { return {static_cast<_Float16>(value)}; }

struct alignas(4) __half2 {
    __half x, y;
};

inline __half __low2half(__half2 pair) { return pair.x; }
inline __half __high2half(__half2 pair) { return pair.y; }
inline bool __hlt(__half a, __half b) { return a.value < b.value; }
inline bool __hgt(__half a, __half b) { return a.value > b.value; }

inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
    // A double holds the product of two halves, and its sum with a third wherever rounding it to a half asks for it.
    auto const fma = [](__half a, __half b, __half c) {
        return __half{static_cast<_Float16>(double{a.value} * double{b.value} + double{c.value})};
    };
    return {fma(a.x, b.x, c.x), fma(a.y, b.y, c.y)};
}
inline __half2 __hmax2_nan(__half2 a, __half2 b) {
    auto const larger = [](__half a, __half b) { return a.value > b.value || a.value != a.value ? a : b; };
    return {larger(a.x, b.x), larger(a.y, b.y)};
}
inline __half2 __hmin2_nan(__half2 a, __half2 b) {
    auto const smaller = [](__half a, __half b) { return a.value < b.value || a.value != a.value ? a : b; };
    return {smaller(a.x, b.x), smaller(a.y, b.y)};
}

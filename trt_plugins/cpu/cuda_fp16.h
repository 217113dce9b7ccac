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

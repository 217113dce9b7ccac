// One product of two small FP16 matrices on the tensor cores, summed in float.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#ifdef HYPERSEG_ON_CPU
#include <cpu_mma.h>
#else

namespace hyperseg {

// d [16, 8] += a [16, 8] b [8, 8], by all lanes of a warp together. With row = lane / 4 and pair = lane % 4 * 2, a lane
// holds a[row, pair] and a[row, pair + 1] in a0 (low half first), a[row + 8, ...] in a1, b[pair, row] and
// b[pair + 1, row] in b, and d[row, pair], d[row, pair + 1], d[row + 8, pair], d[row + 8, pair + 1] in d.
// The depth of 8 is there from sm_75 on and wastes little of channel counts like 22, 34 and 68.
__device__ inline void mma16x8x8(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
#if __CUDA_ARCH__ >= 750
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(b));
#else
    __trap();  // not launched: see the launcher
#endif
}

}  // namespace hyperseg

#endif

namespace hyperseg {

// Two FP16 values, low half first: what lies side by side in memory and in a lane's share of a matrix.
__device__ inline uint32_t packed(float low, float high) {
    return __half_as_ushort(__float2half(low)) | uint32_t{__half_as_ushort(__float2half(high))} << 16;
}
__device__ inline uint32_t pairAt(__half const* values) { return *reinterpret_cast<uint32_t const*>(values); }
__device__ inline __half2 halves(uint32_t pair) { return *reinterpret_cast<__half2 const*>(&pair); }
__device__ inline uint32_t bitsOf(__half2 values) { return *reinterpret_cast<uint32_t const*>(&values); }

// a * b + c of both, rounded once.
__device__ inline uint32_t multiplyAdd(uint32_t a, uint32_t b, uint32_t c) {
    return bitsOf(__hfma2(halves(a), halves(b), halves(c)));
}

__device__ inline __half bounded(__half value, __half low, __half high) {
    return __hlt(value, low) ? low : __hgt(value, high) ? high : value;
}

// Both, not below low and not above high; NaN stays NaN.
__device__ inline uint32_t bounded(uint32_t pair, uint32_t low, uint32_t high) {
#if __CUDA_ARCH__ >= 800
    return bitsOf(__hmin2_nan(__hmax2_nan(halves(pair), halves(low)), halves(high)));
#else  // where the headers of CUDA 11 do not have these functions
    __half2 const values = halves(pair), lows = halves(low), highs = halves(high);
    return bitsOf(__half2{bounded(__low2half(values), __low2half(lows), __low2half(highs)),
                          bounded(__high2half(values), __high2half(lows), __high2half(highs))});
#endif
}

}  // namespace hyperseg

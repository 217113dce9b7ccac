// The tensor cores' matrix product on the CPU: the lanes of a warp show each other their fragments.
#pragma once

#include <cuda_fp16.h>

#include <cstring>

#include "cpu.h"

namespace hyperseg {

// d [16, 8] += a [16, 8] b [8, 8]; who holds which element is said in kernels/mma.cuh.
inline void mma16x8x8(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
    struct Fragments {
        uint16_t a[2][2], b[2];
        unsigned char rest[52];
    } mine{}, all[32];
    static_assert(sizeof(Fragments) == 64, "what the lanes exchange");
    std::memcpy(mine.a[0], &a0, 4);
    std::memcpy(mine.a[1], &a1, 4);
    std::memcpy(mine.b, &b, 4);
    std::memcpy(all, cpu::warpExchange(&mine), sizeof(all));

    unsigned const lane = threadIdx.x % 32;
    for (unsigned i = 0; i < 4; ++i) {
        unsigned const row = lane / 4, column = lane % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 8; ++k)
            d[i] += __half2float(__ushort_as_half(all[row * 4 + k / 2].a[i / 2][k % 2])) *
                    __half2float(__ushort_as_half(all[column * 4 + k / 2].b[k % 2]));
    }
}

}  // namespace hyperseg

// Memory that a thread works in.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

namespace hyperseg {

// A block of this thread's own, aligned to 64 bytes, with anything in it. The next call on the thread with the same
// User gives the same block, grown if need be: ask once for all that is needed. Allocating for each patch would cost
// more than a patch.
template <class User>
float* scratch(size_t floats) {
    struct Block {
        float* data = nullptr;
        size_t floats = 0;
        ~Block() { std::free(data); }
    };
    thread_local Block block;
    if (floats > block.floats) {
        std::free(block.data);
        block = {};
        // A large map is read in more places at once than a CPU remembers small pages.
        size_t const wanted = floats * sizeof(float), page = wanted >= size_t{4} << 20 ? size_t{2} << 20 : 64;
        size_t const bytes = (wanted + page - 1) / page * page;
        block.data = static_cast<float*>(std::aligned_alloc(page, bytes));
        if (!block.data) throw std::bad_alloc();
#ifdef __linux__
        if (page > 64) madvise(block.data, bytes, MADV_HUGEPAGE);  // advice: whether it is taken does not matter
#endif
        // Vectors reach beyond what is wanted of a row: old integers there, which are tiny as floats, would cost a CPU
        // a hundred cycles each.
        std::memset(block.data, 0, bytes);
        block.floats = floats;
    }
    return block.data;
}

}  // namespace hyperseg

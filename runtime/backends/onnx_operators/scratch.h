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

// Where memory is watched, a block is exactly as large as was asked for, and a new one of NaNs each time: what goes
// beyond it, and what uses a value that nobody wrote, shows.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kWatched = true;
#else
constexpr bool kWatched = false;
#endif

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
    if (kWatched || floats > block.floats) {
        std::free(block.data);
        block = {};
        // A large map is read in more places at once than a CPU remembers small pages.
        size_t const wanted = floats * sizeof(float), page = wanted >= size_t{4} << 20 ? size_t{2} << 20 : 64;
        size_t const bytes = kWatched ? wanted : (wanted + page - 1) / page * page;
        void* data = nullptr;
        if (posix_memalign(&data, page, bytes)) throw std::bad_alloc();
        block.data = static_cast<float*>(data);
#ifdef __linux__
        // Advice: whether it is taken does not matter.
        if (page > 64 && !kWatched) madvise(block.data, bytes, MADV_HUGEPAGE);
#endif
        // Vectors reach beyond what is wanted of a row: old integers there, which are tiny as floats, would cost a CPU
        // a hundred cycles each.
        std::memset(block.data, kWatched ? 0xff : 0, bytes);
        block.floats = floats;
    }
    return block.data;
}

}  // namespace hyperseg

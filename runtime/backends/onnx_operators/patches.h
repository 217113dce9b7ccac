// The patches of a map, each with weights of its own, theta; and how they are shared out to threads.
#pragma once

#include <algorithm>

#include "map.h"
#include "operator.h"

namespace hyperseg {

constexpr float kInfinity = __builtin_inff();

// Neighbours in a row of patches, worked on by one thread. Their weights lie side by side in memory: sixteen of them
// fill a line of the cache, which is then read once.
constexpr ptrdiff_t kRun = 16;
struct Run {
    ptrdiff_t sample, row, column, patches;
};

// Weights of a patch are as far apart as there are patches: too far for a CPU to see what will be read next. So many
// weights before they are used they are asked for.
constexpr ptrdiff_t kFetchedAhead = 8;

struct Patches {
    Map map;
    float const* weight;  // [batch, weightChannels, rows, columns]
    ptrdiff_t batch, weightChannels, rows, columns;
    ptrdiff_t height, width;         // of a patch, in pixels
    std::vector<float> coordinates;  // of the map's columns

    // Weight `offset` of the run's first patch; those of the others follow, the next weight is rows * columns on.
    float const* theta(Run const& run, ptrdiff_t offset) const {
        return weight + ((run.sample * weightChannels + offset) * rows + run.row) * columns + run.column;
    }

    float const* weightEnd() const { return weight + batch * weightChannels * rows * columns; }

    // Calls f(run) for all runs, on several threads.
    template <class Function>
    void forEachRun(ParallelFor const& parallelFor, Function const& function) const {
        ptrdiff_t const runs = (columns + kRun - 1) / kRun;
        parallelFor(static_cast<size_t>(batch * rows * runs), [&](size_t index) {
            auto const i = static_cast<ptrdiff_t>(index);
            ptrdiff_t const column = i % runs * kRun;
            function(Run{i / runs / rows, i / runs % rows, column, std::min(kRun, columns - column)});
        });
    }
};

// What the attributes of all four operators say.
struct Common {
    Common(Attributes const& attributes, bool level);

    bool level;
    ptrdiff_t positions, outChannels, kernelHeight, kernelWidth, weightOffset;
    PadMode mode;
    float low, high;  // bounds of the activation
};

// Reads inputs X and W or, of a level, S, P and W. These throw std::invalid_argument for shapes that do not fit.
Patches readPatches(Context const& context, Common const& common);
float const* readBias(Context const& context, size_t input, ptrdiff_t channels);
void checkTheta(Patches const& patches, ptrdiff_t offset, ptrdiff_t size);  // of what is read of each patch's weights

// Copies weights offset ... offset + size - 1 of each patch in a run; those of the next patch are `stride` floats on.
void copyTheta(Patches const& patches, Run const& run, ptrdiff_t offset, ptrdiff_t size, float* to, ptrdiff_t stride);

// The same for weights [out, in], packed as gemm.h wants them.
void packTheta(Patches const& patches, Run const& run, ptrdiff_t offset, ptrdiff_t out, ptrdiff_t in, float* to,
               ptrdiff_t stride);

// Writes rows of a patch, without gaps in `from` and channels `stride` floats apart, into Y [batch, channels, H, W].
void writeRows(Patches const& patches, Run const& run, ptrdiff_t patch, ptrdiff_t firstRow, ptrdiff_t rows,
               ptrdiff_t channels, float const* from, ptrdiff_t stride, float* y);

// A patch is worked on some rows at a time, so that what lies between two steps stays in the first or second cache.
// Returns how many, given what one row of pixels takes.
ptrdiff_t rowsAtATime(ptrdiff_t height, ptrdiff_t floatsPerRow);

}  // namespace hyperseg

// Matrix products in registers, for every instruction set that GCC and Clang have vectors for.
//
// A tile of the product is a sum of outer products: at each step a few vectors meet a few scalars, and every pair has
// an accumulator in a register. Whether the lanes are pixels or channels is the caller's choice.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace hyperseg {

// A tile of kVectors vectors and kScalars scalars fills the registers.
constexpr int kVectors = 3;
#if defined(__AVX512F__)
constexpr int kLanes = 16, kScalars = 8;
#elif defined(__AVX__)
constexpr int kLanes = 8, kScalars = 4;
#elif defined(__ARM_NEON)
constexpr int kLanes = 4, kScalars = 8;
#else
constexpr int kLanes = 4, kScalars = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));

constexpr ptrdiff_t roundUp(ptrdiff_t size, ptrdiff_t multiple) { return (size + multiple - 1) / multiple * multiple; }

inline Floats load(float const* from) {  // from any address
    Floats values;
    std::memcpy(&values, from, sizeof values);
    return values;
}

inline void store(float* to, Floats values) { std::memcpy(to, &values, sizeof values); }

// Floats whose first is at the beginning of a vector: a load that crosses a cache line takes twice as long.
class AlignedFloats {
  public:
    explicit AlignedFloats(ptrdiff_t size = 0) : vectors((size + kLanes - 1) / kLanes) {}  // zeros
    float* data() { return reinterpret_cast<float*>(vectors.data()); }
    float const* data() const { return reinterpret_cast<float const*>(vectors.data()); }

  private:
    std::vector<Floats> vectors;
};

inline Floats clamp(Floats values, float low, float high) {
    Floats const least = low - Floats{}, largest = high - Floats{};
    values = values < least ? least : values;
    return values > largest ? largest : values;
}

// Where the operands of a tile lie: `steps` outer products, in `blocks` runs of them.
struct Operands {
    float const* vectors;  // side by side; those of the next step are vectorStep floats on, of the next run vectorBlock
    ptrdiff_t vectorStep, vectorBlock;
    float const* scalars;  // scalarStride floats apart
    ptrdiff_t scalarStride, scalarStep, scalarBlock;
    ptrdiff_t steps, blocks;
};

// sums[s][v] += scalar s times vector v, over all steps.
template <int Scalars, int Vectors>
inline __attribute__((always_inline)) void accumulate(Operands const& o, Floats (&sums)[Scalars][Vectors]) {
    for (ptrdiff_t block = 0; block < o.blocks; ++block) {
        float const* vectors = o.vectors + block * o.vectorBlock;
        float const* scalars = o.scalars + block * o.scalarBlock;
        if (block + 1 < o.blocks)
            for (int s = 0; s < Scalars; ++s) __builtin_prefetch(scalars + o.scalarBlock + s * o.scalarStride);
        for (ptrdiff_t step = 0; step < o.steps; ++step) {
            Floats v[Vectors];
            for (int i = 0; i < Vectors; ++i) v[i] = load(vectors + i * kLanes);
            for (int s = 0; s < Scalars; ++s)
                for (int i = 0; i < Vectors; ++i) sums[s][i] += scalars[s * o.scalarStride] * v[i];
            vectors += o.vectorStep;
            scalars += o.scalarStep;
        }
    }
}

// Weights [out, in] are packed so that a tile reads them in a row: [out / kScalars, in, kScalars], zeros at the end.
constexpr ptrdiff_t packedSize(ptrdiff_t out, ptrdiff_t in) { return roundUp(out, kScalars) * in; }
constexpr ptrdiff_t packedIndex(ptrdiff_t o, ptrdiff_t i, ptrdiff_t in) {
    return (o / kScalars * in + i) * kScalars + o % kScalars;
}

// A 1x1 convolution of rows of pixels: y[o, p] = clamp(bias[o] + sum over i of weight[o, i] x[i, p], low, high).
// Strides are in floats. Rows of x are read, and rows of y written, up to roundUp(pixels, kLanes).
struct PointwiseConv {
    float const* packed;
    float const* bias;
    ptrdiff_t out, in;
    float low, high;
};

template <int Vectors>
inline void convolveColumns(PointwiseConv const& conv, float const* x, ptrdiff_t xStride, float* y, ptrdiff_t yStride) {
    for (ptrdiff_t first = 0; first < conv.out; first += kScalars) {
        Floats sums[kScalars][Vectors] = {};
        float const* weights = conv.packed + first * conv.in;
        accumulate<kScalars, Vectors>({x, xStride, 0, weights, 1, kScalars, 0, conv.in, 1}, sums);
        for (int s = 0; s < kScalars; ++s) {  // of constant length, or the sums leave their registers
            if (first + s >= conv.out) break;
            float* row = y + (first + s) * yStride;
            for (int v = 0; v < Vectors; ++v)
                store(row + v * kLanes, clamp(sums[s][v] + conv.bias[first + s], conv.low, conv.high));
        }
    }
}

inline void convolve(PointwiseConv const& conv, float const* x, ptrdiff_t xStride, ptrdiff_t pixels, float* y,
                     ptrdiff_t yStride) {
    ptrdiff_t p = 0;
    for (; p + 2 * kLanes < pixels; p += 3 * kLanes) convolveColumns<3>(conv, x + p, xStride, y + p, yStride);
    if (p + kLanes < pixels) convolveColumns<2>(conv, x + p, xStride, y + p, yStride), p += 2 * kLanes;
    if (p < pixels) convolveColumns<1>(conv, x + p, xStride, y + p, yStride);
}

}  // namespace hyperseg

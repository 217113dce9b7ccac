#include "mbconv.h"

#include <utility>

#include "gemm.h"
#include "scratch.h"
#include "swish.h"

namespace hyperseg {
namespace {

constexpr ptrdiff_t kGroup = kVectors * kLanes;  // channels that a task expands, or projects to
constexpr ptrdiff_t kTasks = 16;                 // that a map is cut into at least: enough for eight threads
constexpr ptrdiff_t kChunk = kScalars > kLanes ? kScalars : kLanes;  // pixels of whole tiles and of whole vectors
constexpr ptrdiff_t kBlock = 4 * kChunk;                             // pixels that a task projects

ptrdiff_t toLanes(ptrdiff_t channels) { return roundUp(channels, kLanes); }
ptrdiff_t groupsOf(ptrdiff_t channels) { return (channels + kGroup - 1) / kGroup; }
ptrdiff_t blocksOf(ptrdiff_t pixels) { return (pixels + kBlock - 1) / kBlock; }
ptrdiff_t vectorsOf(ptrdiff_t channelsLeft) { return std::min(channelsLeft, kGroup) / kLanes; }  // in a group

// [channels] to whole vectors.
AlignedFloats packBias(float const* bias, ptrdiff_t channels) {
    AlignedFloats packed(toLanes(channels));
    std::copy_n(bias, channels, packed.data());
    return packed;
}

// [channels, size] to [vectors, size, lanes].
AlignedFloats pack(float const* weights, ptrdiff_t channels, ptrdiff_t size) {
    AlignedFloats packed(toLanes(channels) * size);
    for (ptrdiff_t c = 0; c < channels; ++c)
        for (ptrdiff_t i = 0; i < size; ++i)
            packed.data()[(c / kLanes * size + i) * kLanes + c % kLanes] = weights[c * size + i];
    return packed;
}

// [out, in] to groups of up to kVectors vectors: [group][in, vectors of it, lanes], `in` filled up with zeros.
AlignedFloats packGroups(float const* weights, ptrdiff_t out, ptrdiff_t in, ptrdiff_t inRoom) {
    ptrdiff_t const outRoom = toLanes(out);
    AlignedFloats packed(outRoom * inRoom);
    for (ptrdiff_t o = 0; o < out; ++o) {
        ptrdiff_t const first = o / kGroup * kGroup, width = std::min(kGroup, outRoom - first);
        for (ptrdiff_t i = 0; i < in; ++i) packed.data()[first * inRoom + i * width + o - first] = weights[o * in + i];
    }
    return packed;
}

template <int Half, int... Lane>
inline void exchange(Floats& a, Floats& b, std::integer_sequence<int, Lane...>) {
    Floats const x = a, y = b;
#if defined(__clang__)
    a = __builtin_shufflevector(x, y, (Lane & Half ? kLanes + Lane - Half : Lane)...);
    b = __builtin_shufflevector(x, y, (Lane & Half ? kLanes + Lane : Lane + Half)...);
#else
    typedef int32_t Ints __attribute__((vector_size(sizeof(Floats))));
    a = __builtin_shuffle(x, y, Ints{(Lane & Half ? kLanes + Lane - Half : Lane)...});
    b = __builtin_shuffle(x, y, Ints{(Lane & Half ? kLanes + Lane : Lane + Half)...});
#endif
}

// Rows become columns.
template <int Half = kLanes / 2>
inline void transpose(Floats (&rows)[kLanes]) {
    for (int i = 0; i < kLanes; ++i)
        if (!(i & Half)) exchange<Half>(rows[i], rows[i + Half], std::make_integer_sequence<int, kLanes>());
    if constexpr (Half > 1) transpose<Half / 2>(rows);
}

// The last rows that a task has expanded: [row of x modulo count, vector, pixel with the borders, lane].
struct Ring {
    float* rows;
    ptrdiff_t count, vectors, pixels;
    float* row(ptrdiff_t y, ptrdiff_t vector) const {
        return rows + ((y % count) * vectors + vector) * pixels * kLanes;
    }
};

// x is a row in tiles, [tile, in, kScalars].
template <int Vectors>
void expandRow(float const* x, ptrdiff_t in, ptrdiff_t width, float const* weights, float const* bias, Ring const& ring,
               ptrdiff_t y, ptrdiff_t padLeft) {
    for (ptrdiff_t column = 0; column < width; column += kScalars, x += in * kScalars) {
        Floats sums[kScalars][Vectors] = {};
        accumulate<kScalars, Vectors>({weights, Vectors * kLanes, 0, x, 1, kScalars, 0, in, 1}, sums);
        for (int v = 0; v < Vectors; ++v) {
            float* to = ring.row(y, v) + (padLeft + column) * kLanes;
            Floats const added = load(bias + v * kLanes);
            for (int s = 0; s < kScalars; ++s) store(to + s * kLanes, swish(sums[s][v] + added));
        }
    }
    for (int v = 0; v < Vectors; ++v)  // the last tile may have gone into the border
        std::fill(ring.row(y, v) + (padLeft + width) * kLanes,
                  ring.row(y, v) + (padLeft + roundUp(width, kScalars)) * kLanes, 0.f);
}

// The channels of a row of x, [channels, height, width], become the lanes.
void transposeRow(float const* x, ptrdiff_t channels, ptrdiff_t stride, ptrdiff_t width, float* to) {
    ptrdiff_t column = 0;
    if (channels == kLanes) {
        for (; column + kLanes <= width; column += kLanes) {
            Floats rows[kLanes];
            for (int c = 0; c < kLanes; ++c) rows[c] = load(x + c * stride + column);
            transpose(rows);
            for (int i = 0; i < kLanes; ++i) store(to + (column + i) * kLanes, rows[i]);
        }
    }
    for (; column < width; ++column) {
        store(to + column * kLanes, Floats{});
        for (ptrdiff_t c = 0; c < channels; ++c) to[column * kLanes + c] = x[c * stride + column];
    }
}

// Count pixels of a depthwise convolution, from the rows of its taps. Size and Stride 0: as the shape says.
template <int Count, int Size, int Stride>
inline __attribute__((always_inline)) void depthwisePixels(MBConvShape const& shape, float const* const* rows,
                                                           ptrdiff_t column, float const* weights, Floats bias,
                                                           float* to, Floats& total) {
    ptrdiff_t const kernelHeight = Size ? Size : shape.kernelHeight, kernelWidth = Size ? Size : shape.kernelWidth;
    ptrdiff_t const stride = Stride ? Stride : shape.strideWidth;
    Floats sums[Count];
    for (int i = 0; i < Count; ++i) sums[i] = bias;
    for (ptrdiff_t r = 0; r < kernelHeight; ++r)
        for (ptrdiff_t c = 0; c < kernelWidth; ++c) {
            Floats const weight = load(weights + (r * kernelWidth + c) * kLanes);
            float const* from = rows[r] + (column * stride + c) * kLanes;
            for (int i = 0; i < Count; ++i) sums[i] += weight * load(from + i * stride * kLanes);
        }
    for (int i = 0; i < Count; ++i) {
        sums[i] = swish(sums[i]);
        total += sums[i];
        store(to + (column + i) * kLanes, sums[i]);
    }
}

template <int Size, int Stride>
Floats depthwiseRow(MBConvShape const& shape, float const* const* rows, ptrdiff_t width, float const* weights,
                    Floats bias, float* to) {
    Floats total = {};
    ptrdiff_t column = 0;
    for (; column + kScalars <= width; column += kScalars)
        depthwisePixels<kScalars, Size, Stride>(shape, rows, column, weights, bias, to, total);
    for (; column < width; ++column) depthwisePixels<1, Size, Stride>(shape, rows, column, weights, bias, to, total);
    return total;
}

using DepthwiseRow = decltype(&depthwiseRow<0, 0>);

DepthwiseRow depthwiseRowOf(MBConvShape const& s) {
    ptrdiff_t const size = s.kernelHeight == s.kernelWidth ? s.kernelHeight : 0;
    if (size == 3 && s.strideWidth == 1) return depthwiseRow<3, 1>;
    if (size == 3 && s.strideWidth == 2) return depthwiseRow<3, 2>;
    if (size == 5 && s.strideWidth == 1) return depthwiseRow<5, 1>;
    if (size == 5 && s.strideWidth == 2) return depthwiseRow<5, 2>;
    return depthwiseRow<0, 0>;
}

// Projects kChunk pixels: y and added are [out, pixels]; `valid` of the pixels and `channels` of the group exist.
template <int Vectors>
void projectTile(float const* map, ptrdiff_t mapPixels, ptrdiff_t blocks, float const* weights, float const* bias,
                 float const* added, float* y, ptrdiff_t pixels, ptrdiff_t valid, ptrdiff_t channels) {
    Floats sums[kChunk][Vectors];
    for (ptrdiff_t first = 0; first < kChunk; first += kScalars) {
        Floats tile[kScalars][Vectors] = {};
        accumulate<kScalars, Vectors>({weights, Vectors * kLanes, Vectors * kLanes * kLanes, map + first * kLanes,
                                       kLanes, 1, mapPixels * kLanes, kLanes, blocks},
                                      tile);
        for (int s = 0; s < kScalars; ++s)
            for (int v = 0; v < Vectors; ++v) sums[first + s][v] = tile[s][v] + load(bias + v * kLanes);
    }
    for (int v = 0; v < Vectors; ++v)
        for (ptrdiff_t first = 0; first < kChunk; first += kLanes) {
            Floats rows[kLanes];
            for (int i = 0; i < kLanes; ++i) rows[i] = sums[first + i][v];
            transpose(rows);
            for (int c = 0; c < kLanes; ++c) {
                if (v * kLanes + c >= channels) break;
                ptrdiff_t const at = (v * kLanes + c) * pixels + first;
                if (first + kLanes <= valid) {
                    store(y + at, added ? rows[c] + load(added + at) : rows[c]);
                } else {
                    for (ptrdiff_t i = 0; first + i < valid; ++i) y[at + i] = rows[c][i] + (added ? added[at + i] : 0);
                }
            }
        }
}

// One vector of a fully connected layer.
Floats dense(float const* weights, float const* bias, float const* x, ptrdiff_t in) {
    Floats sums[1][1] = {{load(bias)}};
    accumulate<1, 1>({weights, kLanes, 0, x, 1, 1, 0, in, 1}, sums);
    return sums[0][0];
}

}  // namespace

MBConv::MBConv(MBConvShape const& shape, MBConvWeights const& from)
    : shape(shape),
      depthwiseWeights(pack(from.depthwise, shape.hidden, shape.kernelHeight * shape.kernelWidth)),
      depthwiseBias(packBias(from.depthwiseBias, shape.hidden)),
      squeezeWeights(pack(from.squeeze, shape.squeezed, shape.hidden)),
      squeezeBias(packBias(from.squeezeBias, shape.squeezed)),
      exciteWeights(pack(from.excite, shape.hidden, shape.squeezed)),
      exciteBias(packBias(from.exciteBias, shape.hidden)),
      projectWeights(packGroups(from.project, shape.out, shape.hidden, toLanes(shape.hidden))),
      projectBias(packBias(from.projectBias, shape.out)) {
    if (!shape.expand) return;
    expandWeights = packGroups(from.expand, shape.hidden, shape.in, shape.in);
    expandBias = packBias(from.expandBias, shape.hidden);
}

// The sizes of a call, and the memory that its tasks share.
struct MBConv::Call {
    float const* x;
    float* y;
    ptrdiff_t height, width, outHeight, outWidth, pixels;
    ptrdiff_t hidden, squeezed, out;  // channels, in whole vectors
    ptrdiff_t groups, bands;          // what the depthwise map is cut into
    ptrdiff_t tileFloats;             // of a row of tiles
    ptrdiff_t room;                   // pixels of a map
    float* tiles;                     // x as [batch, height, tile, in, kScalars]
    float* map;                       // the depthwise convolution's result: [batch, hidden / kLanes, room, kLanes]
    float* totals;                    // its sums [batch, bands, hidden]
    float* narrow;                    // squeezed [batch, squeezed]
    float* weights;                   // the projection's, scaled, [batch, as projectWeights]
};

void MBConv::operator()(float const* x, ptrdiff_t batch, ptrdiff_t height, ptrdiff_t width, float* y,
                        RunTasks const& runTasks) const {
    Call c = {};
    c.x = x;
    c.y = y;
    c.height = height;
    c.width = width;
    c.outHeight = shape.outHeight(height);
    c.outWidth = shape.outWidth(width);
    c.pixels = c.outHeight * c.outWidth;
    c.hidden = toLanes(shape.hidden);
    c.squeezed = toLanes(shape.squeezed);
    c.out = toLanes(shape.out);
    c.groups = groupsOf(c.hidden);
    c.bands = std::min((kTasks + batch * c.groups - 1) / (batch * c.groups), c.outHeight);
    c.tileFloats = roundUp(width, kScalars) * shape.in;
    c.room = roundUp(c.pixels, kChunk);

    ptrdiff_t const tiles = shape.expand ? toLanes(batch * height * c.tileFloats) : 0;
    ptrdiff_t const map = batch * c.hidden * c.room, totals = batch * c.bands * c.hidden, narrow = batch * c.squeezed;
    c.tiles = scratch<Call>(tiles + map + totals + narrow + batch * c.hidden * c.out);
    c.map = c.tiles + tiles;
    c.totals = c.map + map;
    c.narrow = c.totals + totals;
    c.weights = c.narrow + narrow;

    if (shape.expand) runTasks(batch * height, [&](size_t task) { packRow(c, task); });
    runTasks(batch * c.bands * c.groups, [&](size_t task) { convolveBand(c, task); });
    for (ptrdiff_t sample = 0; sample < batch; ++sample) squeeze(c, sample);
    runTasks(batch * c.hidden / kLanes, [&](size_t task) { gateWeights(c, task); });
    runTasks(batch * blocksOf(c.pixels) * groupsOf(c.out), [&](size_t task) { projectPixels(c, task); });
}

void MBConv::packRow(Call const& c, ptrdiff_t task) const {
    ptrdiff_t const sample = task / c.height, row = task % c.height, mapFloats = c.height * c.width;
    float const* from = c.x + sample * shape.in * mapFloats + row * c.width;
    float* to = c.tiles + task * c.tileFloats;
    for (ptrdiff_t column = 0; column < c.width; column += kScalars)
        for (ptrdiff_t channel = 0; channel < shape.in; ++channel, to += kScalars) {
            float const* pixel = from + channel * mapFloats + column;
            if (column + kScalars <= c.width)
                std::memcpy(to, pixel, kScalars * sizeof(float));
            else
                for (int i = 0; i < kScalars; ++i) to[i] = column + i < c.width ? pixel[i] : 0;
        }
}

void MBConv::convolveBand(Call const& c, ptrdiff_t task) const {
    ptrdiff_t const group = task % c.groups, band = task / c.groups % c.bands, sample = task / c.groups / c.bands;
    ptrdiff_t const channel = group * kGroup, vectors = vectorsOf(c.hidden - channel);
    ptrdiff_t const taps = shape.kernelHeight * shape.kernelWidth, mapFloats = c.height * c.width;
    auto const expand = vectors == 3 ? expandRow<3> : vectors == 2 ? expandRow<2> : expandRow<1>;
    auto const convolveRow = depthwiseRowOf(shape);

    Ring ring{nullptr, shape.kernelHeight, vectors, shape.padLeft + roundUp(c.width, kScalars) + shape.padRight};
    ptrdiff_t const ringFloats = ring.count * vectors * ring.pixels * kLanes, zeros = ring.pixels * kLanes;
    ring.rows = scratch<Ring>(ringFloats + zeros);
    std::fill_n(ring.rows, ringFloats + zeros, 0.f);

    Floats totals[kVectors] = {};
    ptrdiff_t next = 0;  // row of x to expand
    for (ptrdiff_t row = c.outHeight * band / c.bands; row < c.outHeight * (band + 1) / c.bands; ++row) {
        ptrdiff_t const top = row * shape.strideHeight - shape.padTop;
        for (next = std::max(next, top); next < std::min(top + shape.kernelHeight, c.height); ++next) {
            if (shape.expand)
                expand(c.tiles + (sample * c.height + next) * c.tileFloats, shape.in, c.width,
                       expandWeights.data() + channel * shape.in, expandBias.data() + channel, ring, next,
                       shape.padLeft);
            else
                for (ptrdiff_t v = 0; v < vectors; ++v) {
                    ptrdiff_t const first = channel + v * kLanes;
                    transposeRow(c.x + (sample * shape.in + first) * mapFloats + next * c.width,
                                 std::min<ptrdiff_t>(kLanes, shape.in - first), mapFloats, c.width,
                                 ring.row(next, v) + shape.padLeft * kLanes);
                }
        }
        for (ptrdiff_t v = 0; v < vectors; ++v) {
            float const* rows[MBConvShape::kMaxKernelHeight];
            for (ptrdiff_t r = 0; r < shape.kernelHeight; ++r)
                rows[r] = top + r < 0 || top + r >= c.height ? ring.rows + ringFloats : ring.row(top + r, v);
            ptrdiff_t const first = channel + v * kLanes;
            totals[v] += convolveRow(shape, rows, c.outWidth, depthwiseWeights.data() + first * taps,
                                     load(depthwiseBias.data() + first),
                                     c.map + (sample * c.hidden + first) * c.room + row * c.outWidth * kLanes);
        }
    }
    for (ptrdiff_t v = 0; v < vectors; ++v)
        store(c.totals + (sample * c.bands + band) * c.hidden + channel + v * kLanes, totals[v]);
}

void MBConv::squeeze(Call const& c, ptrdiff_t sample) const {
    float* const means = c.totals + sample * c.bands * c.hidden;  // in place of the first band's totals
    for (ptrdiff_t channel = 0; channel < c.hidden; channel += kLanes) {
        Floats total = {};
        for (ptrdiff_t band = 0; band < c.bands; ++band) total += load(means + band * c.hidden + channel);
        store(means + channel, total / static_cast<float>(c.pixels));
    }
    for (ptrdiff_t to = 0; to < c.squeezed; to += kLanes)
        store(c.narrow + sample * c.squeezed + to,
              swish(dense(squeezeWeights.data() + to * shape.hidden, squeezeBias.data() + to, means, shape.hidden)));
}

// Of one vector of the projection's input channels.
void MBConv::gateWeights(Call const& c, ptrdiff_t task) const {
    ptrdiff_t const channel = task * kLanes % c.hidden, sample = task * kLanes / c.hidden;
    Floats const gates = sigmoid(dense(exciteWeights.data() + channel * shape.squeezed, exciteBias.data() + channel,
                                       c.narrow + sample * c.squeezed, shape.squeezed));
    for (ptrdiff_t first = 0; first < c.out; first += kGroup) {
        ptrdiff_t const width = vectorsOf(c.out - first) * kLanes, at = first * c.hidden + channel * width;
        float* const to = c.weights + sample * c.hidden * c.out + at;
        for (ptrdiff_t lane = 0; lane < kLanes; ++lane)
            for (ptrdiff_t i = lane * width; i < (lane + 1) * width; i += kLanes)
                store(to + i, load(projectWeights.data() + at + i) * gates[lane]);
    }
}

void MBConv::projectPixels(Call const& c, ptrdiff_t task) const {
    ptrdiff_t const group = task % groupsOf(c.out), block = task / groupsOf(c.out) % blocksOf(c.pixels);
    ptrdiff_t const sample = task / groupsOf(c.out) / blocksOf(c.pixels);
    ptrdiff_t const channel = group * kGroup, vectors = vectorsOf(c.out - channel);
    auto const project = vectors == 3 ? projectTile<3> : vectors == 2 ? projectTile<2> : projectTile<1>;
    for (ptrdiff_t pixel = block * kBlock; pixel < std::min((block + 1) * kBlock, c.pixels); pixel += kChunk) {
        ptrdiff_t const at = (sample * shape.out + channel) * c.pixels + pixel;
        project(c.map + sample * c.hidden * c.room + pixel * kLanes, c.room, c.hidden / kLanes,
                c.weights + sample * c.hidden * c.out + channel * c.hidden, projectBias.data() + channel,
                shape.residual ? c.x + at : nullptr, c.y + at, c.pixels, c.pixels - pixel, shape.out - channel);
    }
}

}  // namespace hyperseg

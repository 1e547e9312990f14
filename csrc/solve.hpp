// The substitution x = A^{-1} y, with one vector lane for each image or for each row of an image.
//
// A lane walks its pixels in raster order. The channels of a pixel are accumulators in registers: every entry (tap, input
// channel) of the kernel is one vector load of x at a fixed offset and one multiply-add for each output channel; then the
// last tap's triangle is substituted inside the registers.
//
// Lanes as images: a lane is an image; the rows stand in a ring as high as the kernel.
// Lanes as rows: a lane is a row of one image, one column behind the row above it, so that the lanes of a step are independent.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>
#include <thread>
#include <memory>
#include <utility>
#include <vector>

#include "parallel.hpp"
#include "problem.hpp"

namespace inverseflow {
namespace {  // each instruction set compiles its own copy

template <class T, int L>
struct Vector {
    typedef T type __attribute__((vector_size(sizeof(T) * L)));
    typedef T loose __attribute__((vector_size(sizeof(T) * L), aligned(sizeof(T))));
};

template <class T>
struct AlignedDelete {
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
template <class T>
using Buffer = std::unique_ptr<T[], AlignedDelete<T>>;

template <class T>
Buffer<T> zeros(std::int64_t size) {
    T* p = static_cast<T*>(::operator new[](sizeof(T) * std::max<std::int64_t>(size, 1), std::align_val_t(64)));
    std::memset(p, 0, sizeof(T) * size);
    return Buffer<T>(p);
}

// A vector whose code belongs to this copy alone: were it the same type in all copies, the linker would keep one of them, and
// that could be one for a better processor.
template <class T>
struct Allocator : std::allocator<T> {
    template <class U>
    struct rebind {
        using other = Allocator<U>;
    };
};
template <class T>
using List = std::vector<T, Allocator<T>>;

constexpr int kMaxBlock = 16;

// The kernel of one group as the walk reads it: for each block of output channels the entries, then the triangle.
template <class T>
struct PackedBlock {
    int first, count;            // output channels
    std::int64_t entries;        // (tap, input channel) pairs
    List<T> weights;      // (entries, count), already divided by the diagonal
    List<T> triangle;     // (count, count): row i holds what x_i contributes to the outputs
    List<T> inverse_diagonal;
};

template <class T, int L, int B>
void step(const PackedBlock<T>& block, const std::int64_t* offsets, T* current, std::int64_t channel_stride) {
    using V = typename Vector<T, L>::type;
    using U = typename Vector<T, L>::loose;
    V sum[B];
    T* out = current + block.first * channel_stride;
    for (int o = 0; o < B; ++o) sum[o] = *reinterpret_cast<const U*>(out + o * channel_stride) * block.inverse_diagonal[o];
    const T* weight = block.weights.data();
    for (std::int64_t e = 0; e < block.entries; ++e, weight += B) {
        const V value = *reinterpret_cast<const U*>(current + offsets[e]);
        for (int o = 0; o < B; ++o) sum[o] -= weight[o] * value;
    }
    const T* triangle = block.triangle.data();
    for (int i = 0; i < B; ++i, triangle += B) {
        for (int o = i + 1; o < B; ++o) sum[o] -= triangle[o] * sum[i];
    }
    for (int o = 0; o < B; ++o) *reinterpret_cast<U*>(out + o * channel_stride) = sum[o];
}

template <class T, int L>
using Step = void (*)(const PackedBlock<T>&, const std::int64_t*, T*, std::int64_t);

template <class T, int L, int... B>
Step<T, L> choose(int count, std::integer_sequence<int, B...>) {
    static constexpr Step<T, L> table[] = {&step<T, L, B + 1>...};
    return table[count - 1];
}

// What all walks of one call share.
template <class T>
struct Plan {
    const Problem& p;
    std::int64_t C, H, W, kh, kw;
    List<List<PackedBlock<T>>> kernels;  // of each group

    Plan(const Problem& problem, int widest_block)
        : p(problem), C(p.channels), H(p.rows), W(p.columns), kh(std::min(p.kernel_rows, p.rows)),
          kw(std::min(p.kernel_columns, p.columns)) {
        for (std::int64_t g = 0; g < p.groups; ++g) kernels.push_back(pack_kernel(g, widest_block));
    }

    // An upper triangular problem is a lower one with the channels counted backwards.
    std::int64_t channel(std::int64_t c) const { return p.upper ? C - 1 - c : c; }

    List<PackedBlock<T>> pack_kernel(std::int64_t group, int widest) const {
        const T* kernel = static_cast<const T*>(p.kernel) + group * C * C * p.kernel_rows * p.kernel_columns;
        auto tap = [&](std::int64_t o, std::int64_t i, std::int64_t a, std::int64_t b) {
            return kernel[((channel(o) * C + channel(i)) * p.kernel_rows + p.kernel_rows - 1 - a) * p.kernel_columns +
                          p.kernel_columns - 1 - b];
        };
        const std::int64_t blocks = (C + widest - 1) / widest;
        List<PackedBlock<T>> packed;
        for (std::int64_t number = 0; number < blocks; ++number) {
            const int first = static_cast<int>(C * number / blocks), end = static_cast<int>(C * (number + 1) / blocks);
            PackedBlock<T> block;
            block.first = first;
            block.count = end - first;
            for (int o = first; o < end; ++o) block.inverse_diagonal.push_back(T(1) / tap(o, o, 0, 0));
            for (std::int64_t a = kh - 1; a >= 0; --a)
                for (std::int64_t b = kw - 1; b >= 0; --b)
                    for (std::int64_t i = 0; i < (a || b ? C : first); ++i)
                        for (int o = first; o < end; ++o)
                            block.weights.push_back(tap(o, i, a, b) * block.inverse_diagonal[o - first]);
            block.entries = static_cast<std::int64_t>(block.weights.size()) / block.count;
            for (int i = first; i < end; ++i)
                for (int o = first; o < end; ++o)
                    block.triangle.push_back(o > i ? tap(o, i, 0, 0) * block.inverse_diagonal[o - first] : T(0));
            packed.push_back(std::move(block));
        }
        return packed;
    }

    // Offsets of the entries in the order of pack_kernel; of the last tap a block reads the channels before its own.
    template <class At>
    List<std::int64_t> entry_offsets(At at) const {
        List<std::int64_t> offsets;
        for (std::int64_t a = kh - 1; a >= 0; --a)
            for (std::int64_t b = kw - 1; b >= 0; --b)
                for (std::int64_t i = 0; i < C; ++i) offsets.push_back(at(a, b, i));
        return offsets;
    }

    const T* y(std::int64_t image, std::int64_t group) const {
        return static_cast<const T*>(p.y) + image * p.of_y.image + group * C * p.of_y.channel;
    }
    T* x(std::int64_t image, std::int64_t group) const {
        return static_cast<T*>(p.x) + image * p.of_x.image + group * C * p.of_x.channel;
    }
};

template <class T, int L>
struct Steps {
    const List<PackedBlock<T>>& blocks;
    List<Step<T, L>> functions;

    explicit Steps(const List<PackedBlock<T>>& packed) : blocks(packed) {
        for (const auto& block : blocks)
            functions.push_back(choose<T, L>(block.count, std::make_integer_sequence<int, kMaxBlock>{}));
    }
    void operator()(const std::int64_t* offsets, T* current, std::int64_t channel_stride) const {
        for (std::size_t b = 0; b < blocks.size(); ++b) functions[b](blocks[b], offsets, current, channel_stride);
    }
};

// L rows of L elements, a stride apart, to the L rows of their transpose.
template <class T, int L>
struct Transpose {
    using V = typename Vector<T, L>::type;
    using U = typename Vector<T, L>::loose;

    static void apply(const T* from, std::int64_t stride, T* to, std::int64_t to_stride) {
        V row[L];
        for (int i = 0; i < L; ++i) row[i] = *reinterpret_cast<const U*>(from + i * stride);
        exchange<L / 2>(row);
        for (int i = 0; i < L; ++i) *reinterpret_cast<U*>(to + i * to_stride) = row[i];
    }

    template <int S, int... I>
    static void swap_blocks(V& a, V& b, std::integer_sequence<int, I...>) {
        const V low = __builtin_shufflevector(a, b, ((I & S) ? L + (I ^ S) : I)...);
        const V high = __builtin_shufflevector(a, b, ((I & S) ? L + I : (I ^ S))...);
        a = low;
        b = high;
    }

    template <int S>
    static void exchange(V* row) {
        if constexpr (S >= 1) {
            for (int i = 0; i < L; ++i)
                if (!(i & S)) swap_blocks<S>(row[i], row[i | S], std::make_integer_sequence<int, L>{});
            exchange<S / 2>(row);
        }
    }
};

inline bool can_transpose(const Strides& s) { return s.column == 1 || s.column == -1; }

// L positions of L lanes: from one stretch of memory for each lane to one vector for each position. `along` is 1 or -1.
template <class T, int L>
void pack_square(const T* from, std::int64_t between, std::int64_t along, T* to, std::int64_t slot) {
    if (along == 1)
        Transpose<T, L>::apply(from, between, to, slot);
    else
        Transpose<T, L>::apply(from - (L - 1), between, to + (L - 1) * slot, -slot);
}

template <class T, int L>
void unpack_square(const T* from, std::int64_t slot, T* to, std::int64_t between, std::int64_t along) {
    if (along == 1)
        Transpose<T, L>::apply(from, slot, to, between);
    else
        Transpose<T, L>::apply(from + (L - 1) * slot, -slot, to - (L - 1), between);
}

// One group of up to L images, from the first row to the last.
template <class T, int L>
void walk_images(const Plan<T>& plan, std::int64_t group, std::int64_t first, std::int64_t count) {
    const Problem& p = plan.p;
    const std::int64_t C = plan.C, H = plan.H, W = plan.W, kh = plan.kh, kw = plan.kw;
    const std::int64_t slot = C * L, row = (W + kw - 1) * slot;
    List<List<std::int64_t>> offsets;  // one set for each phase of the ring
    for (std::int64_t phase = 0; phase < kh; ++phase)
        offsets.push_back(plan.entry_offsets([&](std::int64_t a, std::int64_t b, std::int64_t i) {
            return ((phase - a + kh) % kh - phase) * row - b * slot + i * L;
        }));
    const Steps<T, L> solve(plan.kernels[group]);
    const Buffer<T> ring = zeros<T>(kh * row);
    const T* y = plan.y(first, group);
    T* x = plan.x(first, group);

    auto pack = [&](const T* from, T* to) {
        const Strides& s = p.of_y;
        std::int64_t w = 0;
        for (; count == L && can_transpose(s) && w + L <= W; w += L)
            pack_square<T, L>(from + w * s.column, s.image, s.column, to + w * slot, slot);
        for (; w < W; ++w)
            for (std::int64_t n = 0; n < count; ++n) to[w * slot + n] = from[n * s.image + w * s.column];
    };
    auto unpack = [&](const T* from, T* to) {
        const Strides& s = p.of_x;
        std::int64_t w = 0;
        for (; count == L && can_transpose(s) && w + L <= W; w += L)
            unpack_square<T, L>(from + w * slot, slot, to + w * s.column, s.image, s.column);
        for (; w < W; ++w)
            for (std::int64_t n = 0; n < count; ++n) to[n * s.image + w * s.column] = from[w * slot + n];
    };

    for (std::int64_t h = 0; h < H; ++h) {
        T* line = ring.get() + h % kh * row + (kw - 1) * slot;
        for (std::int64_t c = 0; c < C; ++c)
            pack(y + plan.channel(c) * p.of_y.channel + h * p.of_y.row, line + c * L);
        const std::int64_t* at = offsets[h % kh].data();
        for (std::int64_t w = 0; w < W; ++w) solve(at, line + w * slot, L);
        for (std::int64_t c = 0; c < C; ++c)
            unpack(line + c * L, x + plan.channel(c) * p.of_x.channel + h * p.of_x.row);
    }
}

// One band of up to L rows of one image. `above` counts the steps that the band above has done, null for the first band.
template <class T, int L>
void walk_rows(const Plan<T>& plan, std::int64_t group, std::int64_t image, std::int64_t top,
               const std::atomic<std::int64_t>* above, std::atomic<std::int64_t>& done) {
    const Problem& p = plan.p;
    const std::int64_t C = plan.C, W = plan.W;
    const std::int64_t lead = plan.kh - 1, channel_stride = L + lead, slot = C * channel_stride;
    const std::int64_t before = plan.kh + plan.kw - 2, count = std::min<std::int64_t>(L, plan.H - top);
    const std::int64_t last = W + count - 1;  // steps in which a row of this band is inside the image
    const auto offsets = plan.entry_offsets([&](std::int64_t a, std::int64_t b, std::int64_t i) {
        return -(a + b) * slot + i * channel_stride - a;
    });
    const Steps<T, L> solve(plan.kernels[group]);
    const Buffer<T> buffer = zeros<T>((before + last) * slot);
    T* start = buffer.get() + before * slot + lead;  // lane 0 of step 0
    const T* y = plan.y(image, group) + top * p.of_y.row;
    T* x = plan.x(image, group) + top * p.of_x.row;

    constexpr std::int64_t kChunk = 32;
    for (std::int64_t from = 0; from < last; from += kChunk) {
        const std::int64_t to = std::min(from + kChunk, last);
        if (above) {
            const std::int64_t needed = std::min(to + lead + L, W + L - 1);
            while (above->load(std::memory_order_acquire) < needed) std::this_thread::yield();
        }
        // Lane r is at column t - r in step t; lanes below 0 are rows of the band above.
        auto inside = [&](std::int64_t t, const Strides& s) {
            return can_transpose(s) && count == L && t >= L - 1 && t + L <= std::min(to, W);
        };
        for (std::int64_t c = 0; c < C; ++c) {
            T* lane = start + c * channel_stride;
            const T* source = y + plan.channel(c) * p.of_y.channel;
            for (std::int64_t t = from; t < to;) {
                if (inside(t, p.of_y)) {
                    pack_square<T, L>(source + t * p.of_y.column, p.of_y.row - p.of_y.column, p.of_y.column, lane + t * slot, slot);
                    t += L;
                    continue;
                }
                for (std::int64_t r = std::max<std::int64_t>(0, t - W + 1); r < std::min(count, t + 1); ++r)
                    lane[t * slot + r] = source[r * p.of_y.row + (t - r) * p.of_y.column];
                ++t;
            }
            const T* solved = x + plan.channel(c) * p.of_x.channel;
            for (std::int64_t r = -1; r >= -std::min(lead, top); --r)
                for (std::int64_t t = from ? from : r; t < std::min(to, W + r); ++t)
                    lane[t * slot + r] = solved[r * p.of_x.row + (t - r) * p.of_x.column];
        }
        for (std::int64_t t = from; t < to; ++t) solve(offsets.data(), start + t * slot, channel_stride);
        for (std::int64_t c = 0; c < C; ++c) {
            const T* lane = start + c * channel_stride;
            T* target = x + plan.channel(c) * p.of_x.channel;
            for (std::int64_t t = from; t < to;) {
                if (inside(t, p.of_x)) {
                    unpack_square<T, L>(lane + t * slot, slot, target + t * p.of_x.column, p.of_x.row - p.of_x.column, p.of_x.column);
                    t += L;
                    continue;
                }
                for (std::int64_t r = std::max<std::int64_t>(0, t - W + 1); r < std::min(count, t + 1); ++r)
                    target[r * p.of_x.row + (t - r) * p.of_x.column] = lane[t * slot + r];
                ++t;
            }
        }
        done.store(to, std::memory_order_release);
    }
}

template <class T, int L>
void solve_rows(const Plan<T>& plan, int threads) {
    const Problem& p = plan.p;
    const std::int64_t images = p.groups * p.images, bands = (plan.H + L - 1) / L;
    const std::unique_ptr<std::atomic<std::int64_t>[]> done(new std::atomic<std::int64_t>[images * bands]());
    parallel_for(images * bands, threads, [&](std::int64_t task) {
        // The first bands of all images come first, so that threads rarely wait for the band above.
        const std::int64_t band = task / images, which = task % images;
        walk_rows<T, L>(plan, which / p.images, which % p.images, band * L, band ? &done[task - images] : nullptr,
                        done[task]);
    });
}

// What a vector of `lanes` lanes gets done beside a full one of L: half as wide ones are issued faster on many processors.
template <int L>
double speed(int lanes) {
    return lanes == L ? 1.0 : lanes == L / 2 ? 0.8 : 0.45;
}

inline double used(double count, double unit) { return count / (unit * std::ceil(count / unit)); }

// How much of all threads' vectors is busy when `lanes` images share one.
template <int L>
double images_score(const Problem& p, int threads, int lanes) {
    return speed<L>(lanes) * used(double(p.images), lanes) *
           used(p.groups * std::ceil(double(p.images) / lanes), threads);
}

template <int L>
int best_image_lanes(const Problem& p, int threads) {
    int best = L;
    for (int lanes = L / 2; L >= 8 && lanes >= L / 4; lanes /= 2)
        if (images_score<L>(p, threads, lanes) > images_score<L>(p, threads, best)) best = lanes;
    return best;
}

// Vectors of images, and narrower ones for the rest of the batch.
template <class T, int L>
void solve_images(const Plan<T>& plan, int threads) {
    const Problem& p = plan.p;
    struct Task {
        std::int64_t first, count;
        void (*walk)(const Plan<T>&, std::int64_t, std::int64_t, std::int64_t);
    };
    auto walk_of = [](int lanes) {
        if constexpr (L >= 8) {
            if (lanes == L / 4) return &walk_images<T, L / 4>;
            if (lanes == L / 2) return &walk_images<T, L / 2>;
        }
        return &walk_images<T, L>;
    };
    List<Task> tasks;
    const int lanes = best_image_lanes<L>(p, threads);
    std::int64_t first = 0;
    for (; first + lanes <= p.images; first += lanes) tasks.push_back({first, lanes, walk_of(lanes)});
    if (const std::int64_t rest = p.images - first; rest > 0) {
        int narrow = lanes;
        while (L >= 8 && narrow > L / 4 && rest <= narrow / 2) narrow /= 2;
        tasks.push_back({first, rest, walk_of(narrow)});
    }
    const std::int64_t each = static_cast<std::int64_t>(tasks.size());
    parallel_for(p.groups * each, threads, [&](std::int64_t number) {
        const Task& task = tasks[number % each];
        task.walk(plan, number / each, task.first, task.count);
    });
}

enum class Lanes { images, rows, half_rows };

// Images keep all lanes busy when there are enough of them for all threads; rows when the image is large, in half as wide
// vectors when it is not very large.
template <int L>
Lanes choose_lanes(const Problem& p, int threads) {
    const double images = images_score<L>(p, threads, best_image_lanes<L>(p, threads));
    auto rows = [&](double unit) {
        const double bands = std::ceil(p.rows / unit);
        return used(p.rows, unit) * p.columns / (p.columns + unit - 1) * used(p.groups * p.images * bands, threads);
    };
    const double whole = 0.8 * rows(L), half = L >= 8 ? 0.72 * rows(L / 2) : 0;
    return images >= std::max(whole, half) ? Lanes::images : whole >= half ? Lanes::rows : Lanes::half_rows;
}

template <class T, int L>
const char* lanes(const Problem& problem, int threads) {
    switch (choose_lanes<L>(problem, threads)) {
        case Lanes::images: return "images";
        case Lanes::rows: return "rows";
        default: return "rows, half vectors";
    }
}

template <class T, int L>
void solve(const Problem& problem, int threads) {
    const Plan<T> plan(problem, sizeof(T) * L >= 64 ? kMaxBlock : 12);
    switch (choose_lanes<L>(problem, threads)) {
        case Lanes::images: return solve_images<T, L>(plan, threads);
        case Lanes::rows: return solve_rows<T, L>(plan, threads);
        case Lanes::half_rows: return solve_rows<T, std::max(L / 2, 1)>(plan, threads);
    }
}

}  // namespace
}  // namespace inverseflow

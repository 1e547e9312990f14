// The walk whose lanes are output channels: for wide layers and for batches too small to fill vectors with images.
//
// The image is packed channels-last. Several independent pixels (of as many images, or of rows each one column behind
// the row above it) share every load of the weights. A block is up to three vectors of output channels.
#pragma once
#include <thread>

#include "walk.hpp"

namespace inverseflow {
namespace {

constexpr int kMaxVectors = 3;

// M vectors of output channels at P pixels, `apart` from each other.
template <class T, int L, int M, int P>
void pixels(const Packed<T>& kernel, const Block<T>& block, T* current, std::int64_t apart, std::int64_t slot,
            std::int64_t row_step, TapWindow window) {
    using V = typename Vector<T, L>::type;
    constexpr int kWidth = M * L;
    const std::int64_t C = kernel.C;
    V sum[P][M];
    T* out = current + block.first;
    unrolled<P>([&](auto p) {
        unrolled<M>([&](auto m) { sum[p][m] = *reinterpret_cast<const V*>(out + p * apart + m * L); });
    });
    for (std::int64_t a = window.rows - 1; a >= 0; --a) {
        const T* weight = block.weights.get() + (kernel.taps - a * kernel.kernel_columns - window.columns) * C * kWidth;
        for (std::int64_t b = window.columns - 1; b >= 0; --b) {
            const T* value = current - a * row_step - b * slot;
            const T* end = value + (a || b ? C : block.first);
            for (; value != end; ++value, weight += kWidth) {
                V w[M];
                unrolled<M>([&](auto m) { w[m] = *reinterpret_cast<const V*>(weight + m * L); });
                unrolled<P>([&](auto p) {
                    const T v = value[p * apart];
                    unrolled<M>([&](auto m) { sum[p][m] -= w[m] * v; });
                });
            }
        }
    }
    using Index = typename Vector<std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>, L>::type;
    Index lane;
    for (int i = 0; i < L; ++i) lane[i] = i;
    const T* triangle = block.triangle.get();
    unrolled<M>([&](auto done) {
        alignas(64) T solved[P][L];
        const int count = static_cast<int>(std::min<std::int64_t>(L, block.count - done * L));
        for (int i = 0; i < count; ++i, triangle += kWidth) {
            unrolled<P>([&](auto p) { *reinterpret_cast<V*>(solved[p]) = sum[p][done]; });
            V w[M];
            unrolled<M>([&](auto m) { w[m] = *reinterpret_cast<const V*>(triangle + m * L); });
            const Index later = lane > i, own = lane == i;
            unrolled<P>([&](auto p) {
                // Channels that are solved are left alone: where this one is infinite, even a product with zero is not
                // zero.
                T v = solved[p][i];
                if (block.scaled) {
                    v /= block.diagonal[done * L + i];
                    sum[p][done] = own ? V{} + v : sum[p][done];
                }
                sum[p][done] = later ? sum[p][done] - w[done] * v : sum[p][done];
                unrolled<M - done - 1>([&](auto m) { sum[p][done + 1 + m] -= w[done + 1 + m] * v; });
            });
        }
    });
    unrolled<P>(
        [&](auto p) { unrolled<M>([&](auto m) { *reinterpret_cast<V*>(out + p * apart + m * L) = sum[p][m]; }); });
}

template <class T>
using Pixels = void (*)(const Packed<T>&, const Block<T>&, T*, std::int64_t, std::int64_t, std::int64_t, TapWindow);

// As many pixels at a time as there are registers for: 32 with AVX-512, 16 else.
constexpr int kMaxPixels = VECTOR_BYTES == 64 ? 8 : 4;

// Whether so many pixels at a time have code of their own. The others are taken in parts, because they would add a
// quarter to the time that this takes to compile.
template <class T>
constexpr bool together(std::int64_t pixels) {
    return sizeof(T) == 4 ? pixels != 5 && pixels != 7 : (pixels & (pixels - 1)) == 0;
}

template <class T, int L, int M, int... P>
Pixels<T> choose_pixels(std::int64_t count, std::integer_sequence<int, P...>) {
    static constexpr Pixels<T> table[] = {&pixels < T, L, M, together<T>(P + 1) ? P + 1 : 1 > ...};
    return table[count - 1];
}

template <class T, int L>
struct PixelSteps {
    const Packed<T>& kernel;
    const List<Block<T>>& blocks;
    std::int64_t apart, slot, row_step;
    List<Pixels<T>> functions;  // kMaxPixels for each block

    PixelSteps(const Packed<T>& packed, std::int64_t group, std::int64_t apart_, std::int64_t slot_,
               std::int64_t row_step_)
        : kernel(packed), blocks(packed.groups[group]), apart(apart_), slot(slot_), row_step(row_step_) {
        constexpr auto counts = std::make_integer_sequence<int, kMaxPixels>{};
        for (const auto& block : blocks)
            for (int count = 1; count <= kMaxPixels; ++count)
                functions.push_back(block.width == L       ? choose_pixels<T, L, 1>(count, counts)
                                    : block.width == 2 * L ? choose_pixels<T, L, 2>(count, counts)
                                                           : choose_pixels<T, L, 3>(count, counts));
    }
    void operator()(T* current, std::int64_t count, TapWindow window) const {
        if (!together<T>(count)) {
            std::int64_t part = count;
            while (!together<T>(part)) --part;
            (*this)(current, part, window);
            return (*this)(current + part * apart, count - part, window);
        }
        for (std::size_t b = 0; b < blocks.size(); ++b)
            functions[b * kMaxPixels + count - 1](kernel, blocks[b], current, apart, slot, row_step, window);
    }
};

inline std::int64_t round_up(std::int64_t n, std::int64_t unit) {
    return (n + unit - 1) / unit * unit;
}

// One group of up to kMaxPixels images, some rows at a time, with the rows above that the kernel reaches.
template <class T, int L>
void walk_images_by_channels(const Plan<T>& plan, std::int64_t group, std::int64_t first, std::int64_t count) {
    const Problem& p = plan.p;
    const std::int64_t C = plan.C, H = plan.H, W = plan.W, slot = round_up(C, L), pitch = W * slot;
    const std::int64_t band = plan.band(pitch * count), above = plan.above(band);
    const std::int64_t apart = (above + band) * pitch + 64 / sizeof(T);
    const Buffer<T> buffer = (C < slot ? zeros<T> : unset<T>)(count * apart);
    const PixelSteps<T, L> solve(*plan.kernel, group, apart, slot, pitch);
    T* line = buffer.get() + above * pitch;
    for (std::int64_t top = 0; top < H; top += band) {
        const std::int64_t rows = std::min(band, H - top);
        for (std::int64_t n = 0; n < count; ++n)
            move_rows<T, L, false>(plan.source(first + n, group) + top * p.of_source.row, p.of_source,
                                   plan.next_channel(p.of_source), C, rows, W, line + n * apart, slot, pitch);
        for (std::int64_t h = 0; h < rows; ++h)
            for (std::int64_t w = 0; w < W; ++w)
                solve(line + h * pitch + w * slot, count, window_at(top + h, w, plan.kh, plan.kw));
        for (std::int64_t n = 0; n < count; ++n) {
            move_rows<T, L, true>(plan.target(first + n, group) + top * p.of_target.row, p.of_target,
                                  plan.next_channel(p.of_target), C, rows, W, line + n * apart, slot, pitch);
            if (top + rows < H)
                std::memmove(buffer.get() + n * apart, line + n * apart + (rows - above) * pitch,
                             sizeof(T) * above * pitch);
        }
    }
}

// One band of up to `height` <= kMaxPixels rows of one image, each row one column behind the row above it. Edges are
// (row, column, channel), the lowest row first. Only a few steps are packed at a time.
template <class T, int L>
void walk_rows_by_channels(const Plan<T>& plan, std::int64_t height, const Band<T>& band) {
    const Problem& p = plan.p;
    const auto& [group, image, top, above, below, before, done] = band;
    const std::int64_t C = plan.C, W = plan.W, slot = round_up(C, L), edge = plan.kh - 1,
                       behind = plan.kh + plan.kw - 2;
    const std::int64_t count = std::min(height, plan.H - top), last = W + count - 1;
    const std::int64_t chunk = std::min<std::int64_t>(16, last), pitch = (behind + chunk) * slot;
    const PixelSteps<T, L> solve(*plan.kernel, group, pitch, slot, pitch + slot);
    const Buffer<T> buffer = zeros<T>((edge + count) * pitch);
    T* const start = buffer.get() + edge * pitch + behind * slot;  // row 0 in the first step of a chunk

    // Row r is at column t - r in step t; rows below 0 are those of the band above.
    auto move = [&](auto unpack, auto* plane, const Strides& s, std::int64_t from, std::int64_t to) {
        for (std::int64_t r = 0; r < count; ++r) {
            const std::int64_t begin = std::max(from, r), end = std::min(to, W + r);
            if (begin < end)
                move_lanes<T, L, unpack>(plane + r * s.row + (begin - r) * s.column, plan.next_channel(s), s.column, C,
                                         end - begin, start + r * pitch + (begin - from) * slot, slot);
        }
    };
    const T* source = plan.source(image, group) + top * p.of_source.row;
    T* target = plan.target(image, group) + top * p.of_target.row;
    std::int64_t known = 0;
    for (std::int64_t from = 0, to; from < last; from = to) {
        to = std::min(last, from + chunk);
        move(std::false_type{}, source, p.of_source, from, to);
        for (std::int64_t t = from; t < to; ++t) {
            T* step = start + (t - from) * slot;
            if (before && t < W) {  // wait until the last row of the band above is past this column
                while (known < t + height) {
                    known = before->load(std::memory_order_acquire);
                    if (known < t + height) std::this_thread::yield();
                }
                for (std::int64_t r = 0; r < edge; ++r)
                    std::memcpy(step - (r + 1) * (pitch + slot), above + (r * W + t) * C, sizeof(T) * C);
            }
            const std::int64_t first = std::max<std::int64_t>(0, t - W + 1), end = std::min(count, t + 1);
            solve(step + first * pitch, end - first, {std::min(top + end, plan.kh), std::min(t - first + 1, plan.kw)});
            for (std::int64_t r = 0; below && r < edge; ++r) {
                const std::int64_t row = height - 1 - r, column = row < 0 ? t : t - row;
                if (column < 0 || column >= W) continue;
                T* kept = below + (r * W + column) * C;
                if (row >= 0)
                    std::memcpy(kept, step + row * pitch, sizeof(T) * C);
                else if (before)  // rows of the bands before
                    std::memcpy(kept, above + ((r - height) * W + column) * C, sizeof(T) * C);
                else
                    std::fill(kept, kept + C, T(0));
            }
            done.store(t + 1, std::memory_order_release);
        }
        move(std::true_type{}, target, p.of_target, from, to);
        for (std::int64_t r = 0; r < edge + count; ++r)
            std::memmove(buffer.get() + r * pitch, buffer.get() + r * pitch + (to - from) * slot,
                         sizeof(T) * behind * slot);
    }
}

}  // namespace
}  // namespace inverseflow

// The walks whose lanes are images or rows of one image.
//
// A lane walks its pixels in raster order. The channels of a pixel are accumulators in registers: every (tap, input
// channel) of the kernel is one vector load of x and one multiply-add for each output channel. Then the triangle of the
// last tap is substituted inside the registers. A convolution of images walks backwards, so that it finds the pixels
// that it reads as they were.
#pragma once
#include <thread>

#include "walk.hpp"

namespace inverseflow {
namespace {

// Output channels of a block: as many accumulators as registers allow beside the operands, of 16 or (AVX-512) 32.
template <class T, int L>
constexpr int kMaxBlock = sizeof(T) * L >= 64 ? 16 : 12;

// One pixel of all lanes: B output channels. `row_step` leads from a pixel to the one above it. The arguments are as
// many as fit into registers: this is called for every pixel.
template <class T, int L, bool Convolve, int B>
void step(const Packed<T>& kernel, const Block<T>& block, T* current, std::int64_t channel_stride,
          std::int64_t row_step, TapWindow window) {
    using V = typename Vector<T, L>::type;
    using U = typename Vector<T, L>::loose;
    const std::int64_t C = kernel.C, slot = C * channel_stride;
    V sum[B];
    T* out = current + block.first * channel_stride;
    for (int o = 0; o < B; ++o) sum[o] = *reinterpret_cast<const U*>(out + o * channel_stride);
    if (Convolve && block.scaled)
        for (int o = 0; o < B; ++o) sum[o] *= block.diagonal[o];
    auto add = [](V& to, T weight, const V& value) {
        if constexpr (Convolve)
            to += weight * value;
        else
            to -= weight * value;
    };
    for (std::int64_t a = window.rows - 1; a >= 0; --a) {
        const T* value = current - a * row_step - (window.columns - 1) * slot;
        const T* weight = block.weights.get() + (kernel.taps - a * kernel.kernel_columns - window.columns) * C * B;
        const T* end = value + (a ? window.columns * C : (window.columns - 1) * C + block.first) * channel_stride;
        for (; value != end; value += channel_stride, weight += B) {
            const V v = *reinterpret_cast<const U*>(value);
            for (int o = 0; o < B; ++o) add(sum[o], weight[o], v);
        }
    }
    const T* triangle = block.triangle.get();
    for (int i = 0; i < B; ++i, triangle += B) {
        if (!Convolve && block.scaled) sum[i] /= block.diagonal[i];
        const V v = Convolve ? *reinterpret_cast<const U*>(out + i * channel_stride) : sum[i];
        for (int o = i + 1; o < B; ++o) add(sum[o], triangle[o], v);
    }
    for (int o = 0; o < B; ++o) *reinterpret_cast<U*>(out + o * channel_stride) = sum[o];
}

template <class T>
using Step = void (*)(const Packed<T>&, const Block<T>&, T*, std::int64_t, std::int64_t, TapWindow);

template <class T, int L, bool Convolve, int... B>
Step<T> choose_step(std::int64_t count, std::integer_sequence<int, B...>) {
    static constexpr Step<T> table[] = {&step<T, L, Convolve, B + 1>...};
    return table[count - 1];
}

template <class T, int L, bool Convolve>
struct Steps {
    const Packed<T>& kernel;
    const List<Block<T>>& blocks;
    std::int64_t channel_stride, row_step;
    List<Step<T>> functions;

    Steps(const Packed<T>& packed, std::int64_t group, std::int64_t channel_stride_, std::int64_t row_step_)
        : kernel(packed), blocks(packed.groups[group]), channel_stride(channel_stride_), row_step(row_step_) {
        for (const auto& block : blocks)
            functions.push_back(
                choose_step<T, L, Convolve>(block.count, std::make_integer_sequence<int, kMaxBlock<T, L>>{}));
    }
    void operator()(T* current, TapWindow window) const {
        const std::size_t count = blocks.size();
        for (std::size_t n = 0; n < count; ++n) {
            const std::size_t b = Convolve ? count - 1 - n : n;
            functions[b](kernel, blocks[b], current, channel_stride, row_step, window);
        }
    }
};

// One group of up to L images, some rows at a time, with the rows above that the kernel reaches.
template <class T, int L, bool Convolve>
void walk_images(const Plan<T>& plan, std::int64_t group, std::int64_t first, std::int64_t count) {
    const Problem& p = plan.p;
    const std::int64_t C = plan.C, H = plan.H, W = plan.W, slot = C * L, pitch = W * slot;
    const std::int64_t band = plan.band(pitch), above = plan.above(band);
    const Buffer<T> buffer = (count < L ? zeros<T> : unset<T>)((above + band) * pitch);
    const Steps<T, L, Convolve> step(*plan.kernel, group, L, pitch);
    T* line = buffer.get() + above * pitch;
    for (std::int64_t top = 0; top < H; top += band) {
        const std::int64_t rows = std::min(band, H - top);
        const T* source = plan.source(first, group) + top * p.of_source.row;
        for (std::int64_t c = 0; c < C; ++c, source += plan.next_channel(p.of_source))
            move_rows<T, L, false>(source, p.of_source, p.of_source.image, count, rows, W, line + c * L, slot, pitch);
        // What the next band reads of this one: pixels as they were for a convolution, solved ones for a solve.
        auto save_last_rows = [&](T* to) { std::memcpy(to, line + (rows - above) * pitch, sizeof(T) * above * pitch); };
        Buffer<T> saved;
        if (Convolve && top + rows < H) save_last_rows((saved = unset<T>(above * pitch)).get());
        for (std::int64_t n = 0; n < rows * W; ++n) {
            const std::int64_t pixel = Convolve ? rows * W - 1 - n : n;
            step(line + pixel * slot, window_at(top + pixel / W, pixel % W, plan.kh, plan.kw));
        }
        T* target = plan.target(first, group) + top * p.of_target.row + p.n.known * plan.next_channel(p.of_target);
        for (std::int64_t c = p.n.known; c < C; ++c, target += plan.next_channel(p.of_target))
            move_rows<T, L, true>(target, p.of_target, p.of_target.image, count, rows, W, line + c * L, slot, pitch);
        if (top + rows < H) {
            if constexpr (Convolve)
                std::memcpy(buffer.get(), saved.get(), sizeof(T) * above * pitch);
            else
                save_last_rows(buffer.get());
        }
    }
}

// All images, L of them at a time.
template <class T, int L, bool Convolve>
void apply_images(const Problem& p, int threads) {
    const Plan<T> plan(p, {1, kMaxBlock<T, L>}, threads);
    const std::int64_t each = (p.n.images + L - 1) / L;
    parallel_for(p.n.groups * each, threads, [&](std::int64_t number) {
        const std::int64_t first = number % each * L;
        walk_images<T, L, Convolve>(plan, number / each, first, std::min<std::int64_t>(L, p.n.images - first));
    });
}

// One band of up to L rows of one image, each row one column behind the row above it, so that the lanes of a step are
// independent. Edges are (column, channel, row). Only a few steps are packed at a time.
template <class T, int L>
void walk_rows(const Plan<T>& plan, const Band<T>& band) {
    const Problem& p = plan.p;
    const auto& [group, image, top, above, below, before, done] = band;
    const std::int64_t C = plan.C, W = plan.W;
    const std::int64_t edge = plan.kh - 1, channel_stride = L + edge, slot = C * channel_stride;
    const std::int64_t behind = plan.kh + plan.kw - 2, count = std::min<std::int64_t>(L, plan.H - top);
    const std::int64_t last = W + count - 1;  // steps in which a row of this band is inside the image
    const std::int64_t chunk =
        std::min<std::int64_t>(std::max(L, 16), last);  // of which between two looks at the band above
    const Steps<T, L, false> solve(*plan.kernel, group, channel_stride, slot + 1);
    const Buffer<T> buffer = zeros<T>((behind + chunk) * slot);
    T* const start = buffer.get() + behind * slot + edge;  // lane 0 of the first step of a chunk

    // Lane r is at column t - r in step t; lanes below 0 are rows of the band above.
    auto move = [&](auto unpack, auto* plane, const Strides& s, std::int64_t from, std::int64_t to) {
        const std::int64_t known = unpack ? p.n.known : 0;
        plane += known * plan.next_channel(s);
        for (std::int64_t c = known; c < C; ++c, plane += plan.next_channel(s)) {
            T* lane = start + c * channel_stride;
            for (std::int64_t t = from; t < to;) {
                T* step = lane + (t - from) * slot;
                if (can_transpose(s.column) && count == L && t >= L - 1 && t + L <= std::min(W, to)) {
                    if constexpr (unpack)
                        unpack_square<T, L>(step, slot, plane + t * s.column, s.row - s.column, s.column);
                    else
                        pack_square<T, L>(plane + t * s.column, s.row - s.column, s.column, step, slot);
                    t += L;
                    continue;
                }
                for (std::int64_t r = std::max<std::int64_t>(0, t - W + 1); r < std::min(count, t + 1); ++r) {
                    if constexpr (unpack)
                        plane[r * s.row + (t - r) * s.column] = step[r];
                    else
                        step[r] = plane[r * s.row + (t - r) * s.column];
                }
                ++t;
            }
        }
    };
    const T* source = plan.source(image, group) + top * p.of_source.row;
    T* target = plan.target(image, group) + top * p.of_target.row;

    // The first chunk ends where all rows are inside the image.
    for (std::int64_t from = 0, to; from < last; from = to) {
        to = std::min(last, from ? from + chunk : std::max(L - 1, 1));
        if (from && (count < L || to > W)) std::memset(buffer.get() + behind * slot, 0, sizeof(T) * chunk * slot);
        move(std::false_type{}, source, p.of_source, from, to);
        if (before) {
            const std::int64_t needed = std::min(to + edge + L, W + L - 1);
            while (before->load(std::memory_order_acquire) < needed) std::this_thread::yield();
            for (std::int64_t r = -1; r >= -edge; --r)
                for (std::int64_t t = from ? from : r; t < std::min(to, W + r); ++t)
                    for (std::int64_t c = 0; c < C; ++c)
                        start[(t - from) * slot + c * channel_stride + r] = above[((t - r) * C + c) * edge - 1 - r];
        }
        for (std::int64_t t = from; t < to; ++t) {
            T* step = start + (t - from) * slot;
            solve(step, {std::min(top + count, plan.kh), std::min(t + 1, plan.kw)});
            for (std::int64_t r = 0; below && r < std::min<std::int64_t>(edge, L); ++r)
                if (const std::int64_t w = t - (L - 1 - r); w >= 0 && w < W && L - 1 - r < count)
                    for (std::int64_t c = 0; c < C; ++c)
                        below[(w * C + c) * edge + r] = step[c * channel_stride + L - 1 - r];
            for (std::int64_t r = L; below && r < edge && t < W; ++r)  // rows of the bands before
                for (std::int64_t c = 0; c < C; ++c)
                    below[(t * C + c) * edge + r] = before ? above[(t * C + c) * edge + r - L] : T(0);
        }
        done.store(to, std::memory_order_release);
        move(std::true_type{}, target, p.of_target, from, to);
        std::memmove(buffer.get(), buffer.get() + (to - from) * slot, sizeof(T) * behind * slot);
    }
}

}  // namespace
}  // namespace inverseflow

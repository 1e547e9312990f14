// The gradient of the kernel: correlation of x with the gradient of the convolution's output.
//
// Narrow layers: every channel of a stretch of rows becomes one flat signal with zero borders, so that a tap is a shift
// of the whole signal and the gradient of one weight is the scalar product of two stretches of memory. Four output
// channels times a few (input channel, tap) pairs are accumulated in registers at a time.
//
// Wide layers: images stand channels-last, a vector holds output channels, and a tile of input and output channels of
// one tap is accumulated in registers over all pixels.
#pragma once
#include "channels.hpp"

namespace inverseflow {
namespace {

// Some images, or some rows of one image; which, depends on the shapes alone, and so does the order of every sum.
struct Stretch {
    std::int64_t image, images, row, rows;
};

// Cuts a batch into stretches of at most about `largest` and in `fewest`, so that the copies stay small beside the
// images. A row counts `pitch`, and an image has `above` more rows.
inline List<Stretch> stretches(const Sizes& n, std::int64_t pitch, std::int64_t above, std::int64_t largest,
                               std::int64_t fewest) {
    List<Stretch> all;
    const std::int64_t whole = (n.rows + above) * pitch, size = std::min(largest, n.images * whole / fewest);
    if (whole <= size) {
        const std::int64_t together = std::max<std::int64_t>(1, size / whole);
        for (std::int64_t i = 0; i < n.images; i += together)
            all.push_back({i, std::min(together, n.images - i), 0, n.rows});
    } else {
        const std::int64_t rows = std::max(above + 1, size / pitch);
        for (std::int64_t i = 0; i < n.images; ++i)
            for (std::int64_t h = 0; h < n.rows; h += rows) all.push_back({i, 1, h, std::min(rows, n.rows - h)});
    }
    return all;
}

// Zeros where the kernel is not read: the last tap's upper triangle.
template <class T>
void clear_unread(const Correlation& p) {
    const std::int64_t C = p.n.channels, taps = p.n.kernel_rows * p.n.kernel_columns;
    T* last = static_cast<T*>(p.result) + taps - 1;
    for (std::int64_t g = 0; g < p.n.groups; ++g)
        for (std::int64_t o = 0; o < C; ++o)
            for (std::int64_t i = o + (p.diagonal == Diagonal::free ? 1 : 0); i < C; ++i)
                last[((g * C + o) * C + i) * taps] = T(0);
}

template <class T>
bool all_finite(const Correlation& p) {
    const std::int64_t size = p.n.groups * p.n.channels * p.n.channels * p.n.kernel_rows * p.n.kernel_columns;
    const T* result = static_cast<const T*>(p.result);
    T zero = 0;
    for (std::int64_t i = 0; i < size; ++i) zero += result[i] * T(0);
    return zero == T(0);
}

template <class T, int L>
T total(typename Vector<T, L>::type v) {
    T lanes[L];
    std::memcpy(lanes, &v, sizeof v);
    for (int half = L / 2; half; half /= 2)
        for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
}

template <class T, int L>
struct SignalCorrelator {
    using V = typename Vector<T, L>::type;
    using U = typename Vector<T, L>::loose;
    static constexpr int kOutputs = 4;
    static constexpr int kPairs = VECTOR_BYTES == 64 ? 6 : 2;
    static constexpr std::int64_t kStretch = 1 << 13;  // elements of a channel's signal in one task
    static constexpr std::int64_t kChunk = 1 << 12;    // of which this many are in the inner loops at a time

    const Correlation& p;
    std::int64_t C, H, W, kh, kw;
    int threads;
    std::int64_t pitch, lead, taps;

    SignalCorrelator(const Correlation& problem, int threads_)
        : p(problem),
          C(p.n.channels),
          H(p.n.rows),
          W(p.n.columns),
          kh(std::min(p.n.kernel_rows, H)),
          kw(std::min(p.n.kernel_columns, W)),
          threads(threads_),
          pitch(W + kw - 1),
          lead((kh - 1) * pitch + kw - 1),
          taps(kh * kw) {}

    void run() {
        const auto parts = stretches(p.n, pitch, kh - 1, kStretch, 12);
        const std::int64_t weights = C * C * taps, count = static_cast<std::int64_t>(parts.size());
        // A task sums every so many of the stretches; so many tasks that their sums are small beside the images.
        const std::int64_t each = std::clamp<std::int64_t>(
            p.n.images * C * H * W / (2 * weights), 1, std::max<std::int64_t>(1, std::min<std::int64_t>(count, 32)));
        const std::int64_t tasks = p.n.groups * each;
        // Splitting the output channels among threads changes no sum.
        const std::int64_t blocks = (C + kOutputs - 1) / kOutputs;
        const std::int64_t splits = std::min<std::int64_t>(
            blocks, std::max<std::int64_t>(1, (2 * threads + tasks - 1) / std::max<std::int64_t>(1, tasks)));
        Buffer<T> partial = zeros<T>(tasks * weights);
        parallel_for(tasks * splits, tasks == 1 && splits == 1 ? 1 : threads, [&](std::int64_t number) {
            const std::int64_t task = number / splits, split = number % splits;
            const std::int64_t first = blocks * split / splits * kOutputs;
            const std::int64_t end = std::min(C, blocks * (split + 1) / splits * kOutputs);
            for (std::int64_t part = task % each; part < count; part += each)
                correlate(parts[part], task / each, first, end, partial.get() + task * weights);
        });
        T* result = static_cast<T*>(p.result);
        const std::int64_t rows = p.n.kernel_rows, columns = p.n.kernel_columns;
        std::fill(result, result + p.n.groups * C * C * rows * columns, T(0));
        for (std::int64_t g = 0; g < p.n.groups; ++g)
            for (std::int64_t s = 0; s < each; ++s) {
                const T* from = partial.get() + (g * each + s) * weights;
                for (std::int64_t pair = 0; pair < C * C; ++pair)
                    for (std::int64_t a = 0; a < kh; ++a)
                        for (std::int64_t b = 0; b < kw; ++b)
                            result[((g * C * C + pair) * rows + rows - 1 - a) * columns + columns - 1 - b] +=
                                from[pair * taps + a * kw + b];
            }
    }

    void correlate(const Stretch& part, std::int64_t group, std::int64_t first, std::int64_t end, T* partial) const {
        const std::int64_t height = part.rows + kh - 1;  // with the rows above
        const std::int64_t length = part.images * height * pitch, padded = lead + length + L;
        Buffer<T> x = zeros<T>(C * padded), grad = zeros<T>((end - first) * padded);
        for (std::int64_t n = 0; n < part.images; ++n) {
            copy(p.x, p.of_x, part, n, group * C, C, std::max<std::int64_t>(0, part.row - kh + 1), height,
                 x.get() + lead, padded);
            copy(p.grad, p.of_grad, part, n, group * C + first, end - first, part.row, height, grad.get() + lead,
                 padded);
        }
        List<std::int64_t> offsets;  // of (input channel, tap) pairs, relative to the signal of channel 0
        for (std::int64_t i = 0; i < C; ++i)
            for (std::int64_t a = 0; a < kh; ++a)
                for (std::int64_t b = 0; b < kw; ++b) offsets.push_back(i * padded - a * pitch - b);
        const std::int64_t pairs = static_cast<std::int64_t>(offsets.size());
        for (std::int64_t begin = 0; begin < length; begin += kChunk) {
            const std::int64_t stop = std::min(begin + kChunk, (length + L - 1) / L * L);
            for (std::int64_t o = 0; o < end - first; o += kOutputs) {
                const T* g = grad.get() + lead + o * padded;
                const std::int64_t wanted = std::min<std::int64_t>(kOutputs, end - first - o);
                std::int64_t r = 0;
                for (; r + kPairs <= pairs; r += kPairs)
                    accumulate<kPairs>(x.get() + lead, &offsets[r], g, padded, begin, stop,
                                       partial + (first + o) * pairs + r, pairs, wanted);
                for (; r < pairs; ++r)
                    accumulate<1>(x.get() + lead, &offsets[r], g, padded, begin, stop,
                                  partial + (first + o) * pairs + r, pairs, wanted);
            }
        }
    }

    // Rows [top, part.row + part.rows) of some channels of one image, at their places in the signals.
    void copy(const void* from, const Strides& s, const Stretch& part, std::int64_t n, std::int64_t channel,
              std::int64_t channels, std::int64_t top, std::int64_t height, T* to, std::int64_t padded) const {
        const T* image = static_cast<const T*>(from) + (part.image + n) * s.image + channel * s.channel;
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t h = top; h < part.row + part.rows; ++h) {
                const T* source = image + c * s.channel + h * s.row;
                T* target = to + c * padded + (n * height + h - part.row + kh - 1) * pitch + kw - 1;
                if (s.column == 1)
                    std::memcpy(target, source, sizeof(T) * W);
                else
                    for (std::int64_t w = 0; w < W; ++w) target[w] = source[w * s.column];
            }
    }

    template <int R>
    static void accumulate(const T* x, const std::int64_t* offsets, const T* grad, std::int64_t padded,
                           std::int64_t begin, std::int64_t stop, T* partial, std::int64_t pairs, std::int64_t wanted) {
        V sum[kOutputs][R] = {};
        const T* at[R];
        for (int r = 0; r < R; ++r) at[r] = x + offsets[r];
        const T* arriving[kOutputs];  // those beyond the last are computed for nothing
        for (int o = 0; o < kOutputs; ++o) arriving[o] = grad + std::min<std::int64_t>(o, wanted - 1) * padded;
        for (std::int64_t f = begin; f < stop; f += L) {
            V g[kOutputs];
            for (int o = 0; o < kOutputs; ++o) g[o] = *reinterpret_cast<const U*>(arriving[o] + f);
            for (int r = 0; r < R; ++r) {
                const V value = *reinterpret_cast<const U*>(at[r] + f);
                for (int o = 0; o < kOutputs; ++o) sum[o][r] += g[o] * value;
            }
        }
        for (std::int64_t o = 0; o < wanted; ++o)
            for (int r = 0; r < R; ++r) partial[o * pairs + r] += total<T, L>(sum[o][r]);
    }
};

template <class T, int L>
struct ChannelCorrelator {
    using V = typename Vector<T, L>::type;
    static constexpr int kInputs = kMaxPixels;
    static constexpr std::int64_t kStretch = 1 << 17;  // elements of x packed at a time

    const Correlation& p;
    std::int64_t C, H, W, kh, kw, taps, slot, pitch;
    int threads;
    Buffer<T> sums;  // (tap, input channel, output channel)

    ChannelCorrelator(const Correlation& problem, int threads_)
        : p(problem),
          C(p.n.channels),
          H(p.n.rows),
          W(p.n.columns),
          kh(std::min(p.n.kernel_rows, H)),
          kw(std::min(p.n.kernel_columns, W)),
          taps(p.n.kernel_rows * p.n.kernel_columns),
          slot(round_up(C, std::max(L, kInputs))),
          pitch(W * slot),
          threads(threads_) {}

    void run() {
        const auto parts = stretches(p.n, pitch, 0, kStretch, 5);
        std::int64_t rows = 0;  // of the tallest stretch, with those above
        for (const Stretch& part : parts)
            rows = std::max(rows, part.images * (part.rows + (part.rows < H ? kh - 1 : 0)));
        const Buffer<T> x = zeros<T>(rows * pitch), grad = zeros<T>(rows * pitch);
        for (std::int64_t group = 0; group < p.n.groups; ++group) {
            sums = zeros<T>(taps * C * slot);
            for (const Stretch& part : parts) add(part, group, x.get(), grad.get());
            T* result = static_cast<T*>(p.result) + group * C * C * taps;
            parallel_for(C, threads, [&](std::int64_t i) {
                move_lanes<T, 8, true>(result + i * taps, C * taps, 1, C, taps, sums.get() + i * slot, C * slot);
            });
        }
    }

    void add(const Stretch& part, std::int64_t group, T* x, T* grad) const {
        const std::int64_t above = part.row ? std::min(kh - 1, part.row) : 0;
        const std::int64_t tall = part.rows + above;  // rows of x; those of grad start `above` later
        parallel_for(2 * part.images, threads, [&](std::int64_t task) {
            const std::int64_t n = task / 2;
            if (task % 2)
                pack(p.x, p.of_x, part.image + n, group, part.row - above, tall, x + n * tall * pitch);
            else
                pack(p.grad, p.of_grad, part.image + n, group, part.row, part.rows, grad + n * part.rows * pitch);
        });
        const std::int64_t inputs = (C + kInputs - 1) / kInputs, units = round_up(C, L) / L;
        const std::int64_t outputs = (units + kMaxVectors - 1) / kMaxVectors;
        parallel_for(kh * kw * inputs * outputs, threads, [&](std::int64_t task) {
            const std::int64_t b = task % kw, a = task / kw % kh, i = task / (kw * kh) % inputs * kInputs,
                               o = task / (kw * kh * inputs);
            const std::int64_t first = units * o / outputs, count = units * (o + 1) / outputs - first;
            const std::int64_t tap = taps - 1 - a * p.n.kernel_columns - b;
            T* sum = sums.get() + (tap * C + i) * slot + first * L;
            const std::int64_t wanted = std::min<std::int64_t>(kInputs, C - i);
            const auto tile = count == 1   ? &ChannelCorrelator::tile<1>
                              : count == 2 ? &ChannelCorrelator::tile<2>
                                           : &ChannelCorrelator::tile<3>;
            // The first row of grad whose pixel `a` rows above is inside x.
            const std::int64_t start = std::max<std::int64_t>(0, a - above);
            (this->*tile)(x + (start + above - a) * pitch + i, grad + start * pitch + b * slot + first * L,
                          tall * pitch, part.rows * pitch, part.images, part.rows - start, W - b, sum, wanted);
        });
    }

    void pack(const void* from, const Strides& s, std::int64_t image, std::int64_t group, std::int64_t row,
              std::int64_t rows, T* to) const {
        const T* plane = static_cast<const T*>(from) + image * s.image + group * C * s.channel + row * s.row;
        move_rows<T, std::max(L, 4), false>(plane, s, s.channel, C, rows, W, to, slot, pitch);
    }

    template <int M>
    void tile(const T* x, const T* grad, std::int64_t next_x, std::int64_t next_grad, std::int64_t images,
              std::int64_t rows, std::int64_t columns, T* result, std::int64_t wanted) const {
        V sum[kInputs][M] = {};
        for (std::int64_t n = 0; n < images; ++n)
            for (std::int64_t h = 0; h < rows; ++h) {
                const T* value = x + n * next_x + h * pitch;
                const T* g = grad + n * next_grad + h * pitch;
                for (std::int64_t w = 0; w < columns; ++w, value += slot, g += slot) {
                    V v[M];
                    unrolled<M>([&](auto m) { v[m] = *reinterpret_cast<const V*>(g + m * L); });
                    unrolled<kInputs>([&](auto i) {
                        const T scalar = value[i];
                        unrolled<M>([&](auto m) { sum[i][m] += v[m] * scalar; });
                    });
                }
            }
        T* sums_of[kInputs];
        for (int i = 0; i < kInputs; ++i) sums_of[i] = result + std::min<std::int64_t>(i, wanted - 1) * slot;
        unrolled<kInputs>([&](auto i) {
            if (i < wanted) unrolled<M>([&](auto m) { *reinterpret_cast<V*>(sums_of[i] + m * L) += sum[i][m]; });
        });
    }
};

template <class T, int L>
void correlate(const Correlation& p, int threads) {
    // Output channels are the lanes if they fill them, or if they would fill vectors of half the width.
    constexpr int kHalf = std::max(L / 2, 2);
    const double channels = double(p.n.channels), whole = channels / round_up(p.n.channels, L);
    const double half = 0.95 * channels / round_up(p.n.channels, kHalf);
    if (std::max(whole, half) > 0.8 && p.n.channels >= L / 2) {
        if (sizeof(T) == 4 && half > whole)
            ChannelCorrelator<T, sizeof(T) == 4 ? kHalf : L>(p, threads).run();
        else
            ChannelCorrelator<T, L>(p, threads).run();
    } else {
        SignalCorrelator<T, L>(p, threads).run();
        // A signal multiplies its zero borders by what falls there. Where that may have mattered, compute what is
        // inside.
        if (!all_finite<T>(p)) ChannelCorrelator<T, L>(p, threads).run();
    }
    clear_unread<T>(p);
}

}  // namespace
}  // namespace inverseflow

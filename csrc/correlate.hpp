// The gradient of the kernel: correlation of x with the gradient of the convolution's output.
//
// Every channel of a stretch of rows becomes one flat signal with zero borders, so that a tap is a shift of the whole signal
// and the gradient of one weight is the scalar product of two stretches of memory. Four output channels times a few (input
// channel, tap) pairs are accumulated in registers at a time.
#pragma once
#include "solve.hpp"

namespace inverseflow {
namespace {

template <class T, int L>
struct Correlator {
    using V = typename Vector<T, L>::type;
    using U = typename Vector<T, L>::loose;
    static constexpr int kOutputs = 4;
    static constexpr int kPairs = sizeof(T) * L >= 64 ? 6 : 2;
    static constexpr std::int64_t kStretch = 1 << 14;  // elements of a channel's signal in one task
    static constexpr std::int64_t kChunk = 1024;       // of which this many are in the inner loops at a time

    const Correlation& p;
    std::int64_t C, H, W, kh, kw;
    int threads;
    std::int64_t pitch, lead, taps;

    Correlator(const Correlation& problem, int threads_)
        : p(problem), C(p.channels), H(p.rows), W(p.columns), kh(std::min(p.kernel_rows, H)),
          kw(std::min(p.kernel_columns, W)), threads(threads_), pitch(W + kw - 1), lead((kh - 1) * pitch + kw - 1),
          taps(kh * kw) {}

    // A task covers whole images, or some rows of one image; which, depends on the shapes alone.
    struct Stretch {
        std::int64_t image, images, row, rows;
    };

    List<Stretch> stretches() const {
        List<Stretch> all;
        const std::int64_t whole = (H + kh - 1) * pitch;
        if (whole <= kStretch) {
            const std::int64_t together = std::max<std::int64_t>(1, kStretch / whole);
            for (std::int64_t n = 0; n < p.images; n += together)
                all.push_back({n, std::min(together, p.images - n), 0, H});
        } else {
            const std::int64_t rows = std::max<std::int64_t>(kh, kStretch / pitch);
            for (std::int64_t n = 0; n < p.images; ++n)
                for (std::int64_t h = 0; h < H; h += rows) all.push_back({n, 1, h, std::min(rows, H - h)});
        }
        return all;
    }

    void run() {
        const auto parts = stretches();
        const std::int64_t weights = C * C * taps, tasks = p.groups * static_cast<std::int64_t>(parts.size());
        // Splitting the output channels among threads changes no sum.
        const std::int64_t blocks = (C + kOutputs - 1) / kOutputs;
        const std::int64_t splits = std::min<std::int64_t>(blocks, std::max<std::int64_t>(1, (2 * threads + tasks - 1) / std::max<std::int64_t>(1, tasks)));
        Buffer<T> partial = zeros<T>(tasks * weights);
        parallel_for(tasks * splits, tasks == 1 && splits == 1 ? 1 : threads, [&](std::int64_t number) {
            const std::int64_t task = number / splits, split = number % splits;
            const std::int64_t first = blocks * split / splits * kOutputs;
            const std::int64_t end = std::min(C, blocks * (split + 1) / splits * kOutputs);
            correlate(parts[task % parts.size()], task / parts.size(), first, end, partial.get() + task * weights);
        });
        T* result = static_cast<T*>(p.result);
        std::fill(result, result + p.groups * C * C * p.kernel_rows * p.kernel_columns, T(0));
        for (std::int64_t g = 0; g < p.groups; ++g)
            for (std::size_t s = 0; s < parts.size(); ++s) {
                const T* from = partial.get() + (g * parts.size() + s) * weights;
                for (std::int64_t o = 0; o < C; ++o)
                    for (std::int64_t i = 0; i < C; ++i)
                        for (std::int64_t a = 0; a < kh; ++a)
                            for (std::int64_t b = 0; b < kw; ++b)
                                result[(((g * C + o) * C + i) * p.kernel_rows + p.kernel_rows - 1 - a) * p.kernel_columns +
                                       p.kernel_columns - 1 - b] += from[(o * C + i) * taps + a * kw + b];
            }
    }

    void correlate(const Stretch& part, std::int64_t group, std::int64_t first, std::int64_t end, T* partial) const {
        const std::int64_t height = part.rows + kh - 1;  // with the rows above
        const std::int64_t length = part.images * height * pitch, padded = lead + length + L;
        const std::int64_t outputs = (end - first + kOutputs - 1) / kOutputs * kOutputs;
        Buffer<T> x = zeros<T>(C * padded), grad = zeros<T>(outputs * padded);
        for (std::int64_t n = 0; n < part.images; ++n) {
            copy(p.x, p.of_x, part, n, group * C, C, std::max<std::int64_t>(0, part.row - kh + 1), height, x.get() + lead, padded);
            copy(p.grad, p.of_grad, part, n, group * C + first, end - first, part.row, height, grad.get() + lead, padded);
        }
        List<std::int64_t> offsets;  // of (input channel, tap) pairs, relative to the signal of channel 0
        for (std::int64_t i = 0; i < C; ++i)
            for (std::int64_t a = 0; a < kh; ++a)
                for (std::int64_t b = 0; b < kw; ++b) offsets.push_back(i * padded - a * pitch - b);
        const std::int64_t pairs = static_cast<std::int64_t>(offsets.size());
        for (std::int64_t begin = 0; begin < length; begin += kChunk) {
            const std::int64_t stop = std::min(begin + kChunk, (length + L - 1) / L * L);
            for (std::int64_t o = 0; o < outputs; o += kOutputs) {
                const T* g = grad.get() + lead + o * padded;
                const std::int64_t wanted = std::min<std::int64_t>(kOutputs, end - first - o);
                std::int64_t r = 0;
                for (; r + kPairs <= pairs; r += kPairs)
                    accumulate<kPairs>(x.get() + lead, &offsets[r], g, padded, begin, stop, partial + (first + o) * pairs + r, pairs, wanted);
                for (; r < pairs; ++r)
                    accumulate<1>(x.get() + lead, &offsets[r], g, padded, begin, stop, partial + (first + o) * pairs + r, pairs, wanted);
            }
        }
    }

    // Rows [top, part.row + part.rows) of some channels of one image, at their places in the signals.
    void copy(const void* from, const Strides& s, const Stretch& part, std::int64_t n, std::int64_t channel, std::int64_t channels,
              std::int64_t top, std::int64_t height, T* to, std::int64_t padded) const {
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
    static void accumulate(const T* x, const std::int64_t* offsets, const T* grad, std::int64_t padded, std::int64_t begin,
                           std::int64_t stop, T* partial, std::int64_t pairs, std::int64_t wanted) {
        V sum[kOutputs][R] = {};
        const T* at[R];
        for (int r = 0; r < R; ++r) at[r] = x + offsets[r];
        for (std::int64_t f = begin; f < stop; f += L) {
            V g[kOutputs];
            for (int o = 0; o < kOutputs; ++o) g[o] = *reinterpret_cast<const U*>(grad + o * padded + f);
            for (int r = 0; r < R; ++r) {
                const V value = *reinterpret_cast<const U*>(at[r] + f);
                for (int o = 0; o < kOutputs; ++o) sum[o][r] += g[o] * value;
            }
        }
        for (std::int64_t o = 0; o < wanted; ++o)
            for (int r = 0; r < R; ++r) {
                T total = 0;
                for (int lane = 0; lane < L; ++lane) total += sum[o][r][lane];
                partial[o * pairs + r] += total;
            }
    }
};

template <class T, int L>
void correlate(const Correlation& problem, int threads) {
    Correlator<T, L>(problem, threads).run();
}

}  // namespace
}  // namespace inverseflow

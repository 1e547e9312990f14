// The convolution A x. Its pixels do not depend on each other, so the lanes are neighboring columns, unless there are
// many small images.
//
// Rows of a channel are packed one behind the other with zeros between them, so that a tap is a shift of the whole
// signal and vectors are full whatever the width. A pixel is summed in the same order as in the walk of images, so the
// result depends on neither batch, width nor threads.
#pragma once
#include "lanes.hpp"

namespace inverseflow {
namespace {

// Some rows of one image, channel by channel: the input with the rows above that the kernel reaches, and the output.
template <class T>
struct Signals {
    const T* x;  // at the first pixel of the output; taps are to the left of it
    T* y;
    std::int64_t x_channel, y_channel, row;  // distances
    TapWindow window;
};

// How many vectors of columns are computed at a time: enough sums to hide the latency of a multiply-add.
constexpr int vectors_of(std::int64_t outputs) {
    return outputs <= 3 ? 4 : outputs <= 6 ? 2 : 1;
}

// B output channels of a few vectors of columns, from position f on.
template <class T, int L, int B>
void columns(const Packed<T>& kernel, const Block<T>& block, const Signals<T>& s, std::int64_t f) {
    using V = typename Vector<T, L>::type;
    using U = typename Vector<T, L>::loose;
    constexpr int M = vectors_of(B);
    const std::int64_t C = kernel.C;
    const T* own = s.x + f + block.first * s.x_channel;
    V sum[B][M];
    for (int o = 0; o < B; ++o)
        for (int m = 0; m < M; ++m) sum[o][m] = *reinterpret_cast<const U*>(own + o * s.x_channel + m * L);
    if (block.scaled)
        for (int o = 0; o < B; ++o)
            for (int m = 0; m < M; ++m) sum[o][m] *= block.diagonal[o];
    for (std::int64_t a = s.window.rows - 1; a >= 0; --a)
        for (std::int64_t b = s.window.columns - 1; b >= 0; --b) {
            const T* value = s.x + f - a * s.row - b;
            const T* weight = block.weights.get() + (kernel.taps - 1 - a * kernel.kernel_columns - b) * C * B;
            const T* end = weight + (a || b ? C : block.first) * B;
            for (; weight != end; weight += B, value += s.x_channel) {
                V v[M];
                for (int m = 0; m < M; ++m) v[m] = *reinterpret_cast<const U*>(value + m * L);
                for (int o = 0; o < B; ++o)
                    for (int m = 0; m < M; ++m) sum[o][m] += weight[o] * v[m];
            }
        }
    const T* triangle = block.triangle.get();
    for (int i = 0; i < B - 1; ++i, triangle += B) {
        V v[M];
        for (int m = 0; m < M; ++m) v[m] = *reinterpret_cast<const U*>(own + i * s.x_channel + m * L);
        for (int o = i + 1; o < B; ++o)
            for (int m = 0; m < M; ++m) sum[o][m] += triangle[o] * v[m];
    }
    T* out = s.y + f + block.first * s.y_channel;
    for (int o = 0; o < B; ++o)
        for (int m = 0; m < M; ++m) *reinterpret_cast<U*>(out + o * s.y_channel + m * L) = sum[o][m];
}

// The same for one pixel and the taps inside the image alone: for weights that are not finite, whose product with the
// zeros outside would not be zero.
template <class T>
void one_pixel(const Packed<T>& kernel, const Block<T>& block, const Signals<T>& s, std::int64_t f, TapWindow window) {
    const T* own = s.x + f + block.first * s.x_channel;
    for (std::int64_t o = 0; o < block.count; ++o) {
        T sum = own[o * s.x_channel];
        if (block.scaled) sum *= block.diagonal[o];
        for (std::int64_t a = window.rows - 1; a >= 0; --a)
            for (std::int64_t b = window.columns - 1; b >= 0; --b) {
                const T* value = s.x + f - a * s.row - b;
                const std::int64_t tap = kernel.taps - 1 - a * kernel.kernel_columns - b;
                for (std::int64_t i = 0; i < (a || b ? kernel.C : block.first); ++i)
                    sum += block.weights[(tap * kernel.C + i) * block.width + o] * value[i * s.x_channel];
            }
        for (std::int64_t i = 0; i < o; ++i) sum += block.triangle[i * block.width + o] * own[i * s.x_channel];
        s.y[f + (block.first + o) * s.y_channel] = sum;
    }
}

template <class T>
using Columns = void (*)(const Packed<T>&, const Block<T>&, const Signals<T>&, std::int64_t);

template <class T, int L, int... B>
Columns<T> choose_columns(std::int64_t count, std::integer_sequence<int, B...>) {
    static constexpr Columns<T> table[] = {&columns<T, L, B + 1>...};
    return table[count - 1];
}

// Where the rows of one channel are: the distances from row to row and from column to column.
template <class P>
struct Rows {
    P* first;
    std::int64_t row, column;
};

template <class T>
void copy_rows(Rows<const T> from, Rows<T> to, std::int64_t rows, std::int64_t W) {
    for (std::int64_t h = 0; h < rows; ++h, to.first += to.row, from.first += from.row)
        if (to.column == 1 && from.column == 1)
            std::memcpy(to.first, from.first, sizeof(T) * W);
        else
            for (std::int64_t w = 0; w < W; ++w) to.first[w * to.column] = from.first[w * from.column];
}

// Some rows of one group of one image.
template <class T, int L>
void convolve_rows(const Plan<T>& plan, std::int64_t group, std::int64_t image, std::int64_t top, std::int64_t rows) {
    const Problem& p = plan.p;
    const Packed<T>& kernel = *plan.kernel;
    const std::int64_t C = plan.C, W = plan.W, margin = plan.kw - 1, edge = plan.kh - 1, pitch = W + margin;
    const std::int64_t length = rows * pitch, beyond = vectors_of(1) * L;  // what the last vectors reach over
    const std::int64_t x_channel = edge * pitch + margin + length + beyond, y_channel = length + beyond;
    const Buffer<T> x = zeros<T>(C * x_channel), y = unset<T>(C * y_channel);
    const std::int64_t above = std::min(top, edge);
    const T* source = plan.source(image, group) + (top - above) * p.of_source.row;
    for (std::int64_t c = 0; c < C; ++c, source += plan.next_channel(p.of_source))
        copy_rows<T>({source, p.of_source.row, p.of_source.column},
                     {x.get() + c * x_channel + (edge - above) * pitch + margin, pitch, 1}, above + rows, W);
    const Signals<T> signals{x.get() + edge * pitch + margin, y.get(), x_channel, y_channel, pitch, {plan.kh, plan.kw}};
    for (const Block<T>& block : kernel.groups[group]) {
        if (kernel.finite) {
            const auto compute = choose_columns<T, L>(block.count, std::make_integer_sequence<int, kMaxBlock<T, L>>{});
            for (std::int64_t f = 0; f < length; f += vectors_of(block.count) * L) compute(kernel, block, signals, f);
        } else {
            for (std::int64_t h = 0; h < rows; ++h)
                for (std::int64_t w = 0; w < W; ++w)
                    one_pixel(kernel, block, signals, h * pitch + w, window_at(top + h, w, plan.kh, plan.kw));
        }
    }
    T* target = plan.target(image, group) + top * p.of_target.row;
    for (std::int64_t c = 0; c < C; ++c, target += plan.next_channel(p.of_target))
        copy_rows<T>({y.get() + c * y_channel, pitch, 1}, {target, p.of_target.row, p.of_target.column}, rows, W);
}

template <class T, int L>
void convolve(const Problem& p, int threads) {
    if constexpr (sizeof(T) == 4) {
        // Columns compute the zeros between the rows too, and load the weights anew for every vector, which a few
        // channels hide; images are packed by transposition. The factors are from measurements on a processor with
        // AVX2.
        const double narrow = p.n.channels <= 6 ? 1.0 : 0.7, reach = std::min(p.n.kernel_columns, p.n.columns) - 1;
        const double columns = narrow * p.n.columns / (p.n.columns + reach);
        const double tasks = p.n.groups * std::ceil(double(p.n.images) / L);
        const double images = 0.85 * used(p.n.images, L) * used(tasks, threads);
        if (images > columns) return apply_images<T, L, true>(p, threads);
    }
    const Plan<T> plan(p, {1, kMaxBlock<T, L>}, threads);
    constexpr std::int64_t kOne = 1, kLeast = 1 << 13;  // elements of a task: of fewer, its overhead shows
    const std::int64_t images = p.n.groups * p.n.images, row = std::max(kOne, plan.C * (plan.W + plan.kw - 1));
    const std::int64_t share = (images * plan.H + 2 * threads - 1) / (2 * threads);  // rows, two tasks for each thread
    const std::int64_t rows = std::min(std::max(plan.allowance, kLeast) / row, std::max(share, kLeast / row));
    const std::int64_t bands = (plan.H + std::max({kOne, plan.kh, rows}) - 1) / std::max({kOne, plan.kh, rows});
    parallel_for(images * bands, threads, [&](std::int64_t task) {
        const std::int64_t which = task / bands, band = task % bands,
                           top = plan.H * band / bands;  // shares as equal as can be
        convolve_rows<T, L>(plan, which / p.n.images, which % p.n.images, top, plan.H * (band + 1) / bands - top);
    });
}

}  // namespace
}  // namespace inverseflow

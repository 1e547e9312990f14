// What the three walks share: the problem with its kernel packed, and how far the taps of a pixel reach.
//
// Every walk lays the image out so that the taps of one row that a pixel reads, with all their channels, are one stretch of
// memory that ends at the pixel in its own row and at the pixel above it in the rows above.
#pragma once
#include "kernel.hpp"

namespace inverseflow {
namespace {

template <class T>
struct Plan {
    const Problem& p;
    std::int64_t C, H, W, kh, kw;  // of one group; the kernel's part that can reach inside the image
    std::int64_t allowance;        // elements that a thread should hold of the image: what its cache holds, and little of the whole
    Shared<Packed<T>> kernel;

    Plan(const Problem& problem, const Cut& cut, int threads)
        : p(problem), C(p.n.channels), H(p.n.rows), W(p.n.columns), kh(std::min(p.n.kernel_rows, H)),
          kw(std::min(p.n.kernel_columns, W)),
          allowance(std::min<std::int64_t>((1 << 18) / sizeof(T), p.n.images * p.n.groups * C * H * W / (8 * threads))),
          kernel(packed<T>(p.kernel, p.n, cut, threads)) {}

    // How many rows to walk at a time, where a row takes `pitch` elements.
    std::int64_t band(std::int64_t pitch) const {
        const std::int64_t rows = std::max(kh, allowance / pitch - (kh - 1));
        return rows + kh - 1 < H ? rows : H;
    }
    // The rows that a band keeps of those above it.
    std::int64_t above(std::int64_t band) const { return band < H ? kh - 1 : 0; }

    // The first channel of the walk, and the way to the next: a transposed problem counts them backwards.
    const T* source(std::int64_t image, std::int64_t group) const { return at<const T>(p.source, p.of_source, image, group); }
    T* target(std::int64_t image, std::int64_t group) const { return at<T>(p.target, p.of_target, image, group); }
    std::int64_t next_channel(const Strides& s) const { return p.kernel.transposed ? -s.channel : s.channel; }

private:
    template <class P, class Void>
    P* at(Void* base, const Strides& s, std::int64_t image, std::int64_t group) const {
        return static_cast<P*>(base) + image * s.image + (group * C + (p.kernel.transposed ? C - 1 : 0)) * s.channel;
    }
};

// Which taps are inside the image: `rows` of them upwards and `columns` of them leftwards, the pixel's own included.
struct Reach {
    std::int64_t rows, columns;
};

inline Reach reach(std::int64_t h, std::int64_t w, std::int64_t kh, std::int64_t kw) {
    return {std::min(h + 1, kh), std::min(w + 1, kw)};
}

}  // namespace
}  // namespace inverseflow

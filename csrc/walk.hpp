// What all walks share: the problem with its packed kernel, and which taps of a pixel are inside the image.
//
// Every walk of the solve lays the image out so that a pixel reads one stretch of memory in each row: the stretch holds
// all channels of its taps in that row, and ends at the pixel itself or at the pixel above it.
#pragma once
#include <atomic>
#include <cmath>

#include "kernel.hpp"

namespace inverseflow {
namespace {

template <class T>
struct Plan {
    const Problem& p;
    std::int64_t C, H, W, kh, kw;  // of one group; taps that are outside of the image for every pixel are cut off
    std::int64_t allowance;        // elements of the image a thread may hold: min(256 KiB, total / (8 * threads))
    Shared<Packed<T>> kernel;

    Plan(const Problem& problem, const Blocking& blocking, int threads)
        : p(problem),
          C(p.n.channels),
          H(p.n.rows),
          W(p.n.columns),
          kh(std::min(p.n.kernel_rows, H)),
          kw(std::min(p.n.kernel_columns, W)),
          allowance(std::min<std::int64_t>((1 << 18) / sizeof(T), p.n.images * p.n.groups * C * H * W / (8 * threads))),
          kernel(packed<T>(p.kernel, p.n, blocking, threads)) {}

    // How many rows to walk at a time, where a row takes `pitch` elements.
    std::int64_t band(std::int64_t pitch) const {
        const std::int64_t rows = std::max(kh, allowance / pitch - (kh - 1));
        return rows + kh - 1 < H ? rows : H;
    }
    // How many rows above it a band needs.
    std::int64_t above(std::int64_t band) const { return band < H ? kh - 1 : 0; }

    // The first channel of the walk, and the way to the next: a transposed problem counts them backwards.
    const T* source(std::int64_t image, std::int64_t group) const {
        return at<const T>(p.source, p.of_source, image, group);
    }
    T* target(std::int64_t image, std::int64_t group) const { return at<T>(p.target, p.of_target, image, group); }
    std::int64_t next_channel(const Strides& s) const { return p.kernel.transposed ? -s.channel : s.channel; }

private:
    template <class P, class Void>
    P* at(Void* base, const Strides& s, std::int64_t image, std::int64_t group) const {
        return static_cast<P*>(base) + image * s.image + (group * C + (p.kernel.transposed ? C - 1 : 0)) * s.channel;
    }
};

// The taps of a pixel that are inside the image: `rows` upwards and `columns` leftwards, the pixel's own included.
struct TapWindow {
    std::int64_t rows, columns;
};

inline TapWindow window_at(std::int64_t h, std::int64_t w, std::int64_t kh, std::int64_t kw) {
    return {std::min(h + 1, kh), std::min(w + 1, kw)};
}

// The used share of so many units as `count` things need.
inline double used(double count, double unit) {
    return count / (unit * std::ceil(count / unit));
}

// Some rows of one image, walked as one task while the band above it may still be on its way.
template <class T>
struct Band {
    std::int64_t group, image, top;
    const T* above;                           // last rows of the band above, in the order of the walk
    T* below;                                 // the same for the next band; null for the last band
    const std::atomic<std::int64_t>* before;  // steps that the band above has done; null for the first band
    std::atomic<std::int64_t>& done;          // steps that this band has done
};

}  // namespace
}  // namespace inverseflow

// The substitution A^{-1} y and the convolution A x: which walk takes them, and how its parts are shared among threads.
#pragma once
#include <cmath>
#include <limits>

#include "channels.hpp"
#include "lanes.hpp"

namespace inverseflow {
namespace {

// Tasks in bands of an image: the first bands of all images come first, so that threads rarely wait for the band above. What a
// band leaves for the next one overwrites, behind the next one's back, what that was left: two edges serve an image.
template <class T, class F>
void for_bands(const Plan<T>& plan, std::int64_t height, int threads, F&& walk) {
    struct alignas(64) Progress {
        std::atomic<std::int64_t> steps{0};
    };
    const std::int64_t each = plan.p.n.images, images = plan.p.n.groups * each, bands = (plan.H + height - 1) / height;
    const std::unique_ptr<Progress[]> done(new Progress[images * bands]);
    const std::int64_t edge = (plan.kh - 1) * plan.W * plan.C;
    const Buffer<T> edges = unset<T>(bands > 1 ? 2 * images * edge : 0);
    parallel_for(images * bands, threads, [&](std::int64_t task) {
        const std::int64_t band = task / images, which = task % images;
        T *even = edges.get() + 2 * which * edge, *odd = even + edge, *below = band % 2 ? odd : even;
        try {
            walk(which / each, which % each, band * height, band % 2 ? even : odd, band + 1 < bands ? below : nullptr,
                 band ? &done[task - images].steps : nullptr, done[task].steps);
        } catch (...) {
            done[task].steps = std::numeric_limits<std::int64_t>::max();  // let nobody wait for it
            throw;
        }
    });
}

template <class T, int L>
void apply_images(const Problem& p, int threads) {
    const Plan<T> plan(p, {1, sizeof(T) * L >= 64 ? kMaxBlock : 12}, threads);
    const std::int64_t each = (p.n.images + L - 1) / L;
    parallel_for(p.n.groups * each, threads, [&](std::int64_t number) {
        const std::int64_t first = number % each * L;
        (p.convolve ? walk_images<T, L, true> : walk_images<T, L, false>)(plan, number / each, first,
                                                                          std::min<std::int64_t>(L, p.n.images - first));
    });
}

template <class T, int L>
void solve_rows(const Problem& p, int threads) {
    const Plan<T> plan(p, {1, sizeof(T) * L >= 64 ? kMaxBlock : 12}, threads);
    if (!(*plan.kernel).keeps_zeros) return apply_images<T, L>(p, threads);  // the others multiply zeros outside of the image
    for_bands(plan, L, threads, [&](std::int64_t group, std::int64_t image, std::int64_t top, const T* above, T* below, const auto* before,
                                    auto& done) { walk_rows<T, L>(plan, group, image, top, above, below, before, done); });
}

template <class T, int L>
void solve_images_by_channels(const Problem& p, std::int64_t pixels, int threads) {
    const Plan<T> plan(p, {L, kMaxVectors}, threads);
    const std::int64_t each = (p.n.images + pixels - 1) / pixels;
    parallel_for(p.n.groups * each, threads, [&](std::int64_t number) {
        // Shares as equal as can be.
        const std::int64_t first = p.n.images * (number % each) / each, end = p.n.images * (number % each + 1) / each;
        walk_images_by_channels<T, L>(plan, number / each, first, end - first);
    });
}

template <class T, int L>
void solve_rows_by_channels(const Problem& p, std::int64_t pixels, int threads) {
    const Plan<T> plan(p, {L, kMaxVectors}, threads);
    if (!(*plan.kernel).keeps_zeros) return apply_images<T, L>(p, threads);
    for_bands(plan, pixels, threads, [&](std::int64_t group, std::int64_t image, std::int64_t top, const T* above, T* below,
                                         const auto* before, auto& done) {
        walk_rows_by_channels<T, L>(plan, group, image, top, pixels, above, below, before, done);
    });
}

inline double used(double count, double unit) { return count / (unit * std::ceil(count / unit)); }

// The fraction of all threads' multiply-adds that a choice keeps busy with wanted products.
template <int L>
double score(const Problem& p, int threads, const Choice& choice) {
    const Sizes& n = p.n;
    const double images = double(n.groups) * n.images, lanes = choice.lanes, pixels = double(choice.pixels);
    auto bands = [&](double height) {  // a band starts when the one above is past its first columns
        const double count = std::ceil(n.rows / height), steps = n.columns + height - 1;
        const double rounds = std::ceil(images * count / threads), wait = images < threads ? (threads - 1) * height : 0;
        return images * n.rows * n.columns / (threads * height * (rounds * steps + wait));
    };
    auto shares = [&](double each) { return used(double(n.images), each) * used(n.groups * std::ceil(n.images / each), threads); };
    // Measured, beside full vectors of images: narrower vectors are issued faster, and an input channel's load serves fewer
    // products where the lanes are channels.
    const double narrow = lanes == L ? 1.0 : lanes == L / 2 ? 0.7 : 0.42;
    const double units = std::ceil(n.channels / lanes), vectors = units / std::ceil(units / kMaxVectors);  // of a block
    const double channels = used(double(n.channels), lanes) * (0.72 + 0.07 * vectors) * std::min(1.0, 0.6 + 0.05 * pixels) *
                            (lanes == L ? 1.0 : 0.95);
    switch (choice.walk) {
        case Walk::images: return narrow * shares(lanes);
        case Walk::rows: return 0.7 * (lanes == L ? 1.0 : 0.85) * bands(lanes);
        case Walk::channels_of_images: return channels * shares(pixels);
        default: return 0.9 * channels * bands(pixels);
    }
}

template <int L>
Choice choose(const Problem& p, int threads) {
    if (p.forced.lanes) return p.forced;
    List<Choice> all;
    for (int lanes = L; lanes >= std::max(L / 4, 2) || lanes == L; lanes /= 2) all.push_back({Walk::images, lanes, 1});
    for (int lanes = L; !p.convolve && (lanes >= std::max(L / 2, 2) || lanes == L); lanes /= 2) {
        all.push_back({Walk::rows, lanes, 1});
        for (std::int64_t pixels = 1; pixels <= kMaxPixels; ++pixels) {
            if (pixels <= p.n.images) all.push_back({Walk::channels_of_images, lanes, pixels});
            if (pixels <= p.n.rows) all.push_back({Walk::channels_of_rows, lanes, pixels});
        }
    }
    return *std::max_element(all.begin(), all.end(), [&](const Choice& a, const Choice& b) {
        return score<L>(p, threads, a) < score<L>(p, threads, b);
    });
}

template <class T, int L>
void apply_by(const Problem& p, const Choice& choice, int threads) {
    switch (choice.walk) {
        case Walk::images: return apply_images<T, L>(p, threads);
        case Walk::rows: return solve_rows<T, L>(p, threads);
        case Walk::channels_of_images: return solve_images_by_channels<T, L>(p, choice.pixels, threads);
        case Walk::channels_of_rows: return solve_rows_by_channels<T, L>(p, choice.pixels, threads);
    }
}

template <class T, int L>
void apply(const Problem& p, int threads) {
    const Choice choice = choose<L>(p, threads);
    if constexpr (L >= 4) {
        if (choice.lanes == L / 2) return apply_by<T, L / 2>(p, choice, threads);
        if (choice.lanes == L / 4) return apply_images<T, L / 4>(p, threads);
    }
    apply_by<T, L>(p, choice, threads);
}

}  // namespace
}  // namespace inverseflow

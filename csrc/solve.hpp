// The substitution A^{-1} y: which walk takes it, and how its parts are shared among threads.
#pragma once
#include <cmath>
#include <limits>

#include "channels.hpp"
#include "lanes.hpp"

namespace inverseflow {
namespace {

// Tasks in bands of an image. The first bands of all images come first, so that threads rarely wait for the band above.
// Two edges serve an image: a band overwrites its own `above`, of which it has read the part in question, for the band
// after next.
template <class T, class Walk>
void for_bands(const Plan<T>& plan, std::int64_t height, int threads, Walk&& walk) {
    struct alignas(64) Progress {
        std::atomic<std::int64_t> steps{0};
    };
    const std::int64_t each = plan.p.n.images, images = plan.p.n.groups * each, bands = (plan.H + height - 1) / height;
    const std::unique_ptr<Progress[]> done(new Progress[images * bands]);
    const std::int64_t edge = (plan.kh - 1) * plan.W * plan.C;
    const Buffer<T> edges = unset<T>(bands > 1 ? 2 * images * edge : 0);
    parallel_for(images * bands, threads, [&](std::int64_t task) {
        const std::int64_t number = task / images, which = task % images;
        T *even = edges.get() + 2 * which * edge, *odd = even + edge, *below = number % 2 ? odd : even;
        try {
            walk(Band<T>{which / each, which % each, number * height, number % 2 ? even : odd,
                         number + 1 < bands ? below : nullptr, number ? &done[task - images].steps : nullptr,
                         done[task].steps});
        } catch (...) {
            done[task].steps = std::numeric_limits<std::int64_t>::max();  // release the band that waits for this one
            throw;
        }
    });
}

// Walks of rows multiply the zeros outside of the image by the taps that fall there, where a walk of images leaves
// these out. That is the same only while zeros stay zeros, so other kernels take the walk of images.
template <class T, int L>
void solve_rows(const Problem& p, int threads) {
    const Plan<T> plan(p, {1, kMaxBlock<T, L>}, threads);
    if (!(*plan.kernel).keeps_zeros) return apply_images<T, L, false>(p, threads);
    for_bands(plan, L, threads, [&](const Band<T>& band) { walk_rows<T, L>(plan, band); });
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
    if (!(*plan.kernel).keeps_zeros) return apply_images<T, L, false>(p, threads);
    for_bands(plan, pixels, threads, [&](const Band<T>& band) { walk_rows_by_channels<T, L>(plan, pixels, band); });
}

// An estimate of the fraction of all threads' multiply-adds that a choice keeps busy with wanted products.
//
// The shares are counted. The numbers come from timing the walks on processors with AVX2 and with AVX-512; there is no
// record of the fit and no program repeats it. All walks give the same bits, so a wrong number costs time and nothing
// else. To try others, time each walk as tests/ops/_backends/test_native.py forces them.
template <int L>
double score(const Problem& p, int threads, const Choice& choice) {
    const Sizes& n = p.n;
    const double images = double(n.groups) * n.images, lanes = choice.lanes, pixels = double(choice.pixels);
    auto bands = [&](double height) {  // a band starts when the one above is past its first columns
        const double count = std::ceil(n.rows / height), steps = n.columns + height - 1;
        const double rounds = std::ceil(images * count / threads), wait = images < threads ? (threads - 1) * height : 0;
        return images * n.rows * n.columns / (threads * height * (rounds * steps + wait));
    };
    auto shares = [&](double each) {
        return used(double(n.images), each) * used(n.groups * std::ceil(n.images / each), threads);
    };
    // Measured, beside full vectors of images: narrower vectors are issued faster, and an input channel's load serves
    // fewer products where the lanes are channels.
    const double narrow = lanes == L ? 1.0 : lanes == L / 2 ? 0.7 : 0.42;
    const double solved = double(n.channels - n.known);
    const double units = std::ceil(solved / lanes), vectors = units / std::ceil(units / kMaxVectors);  // of a block
    const double channels = used(solved, lanes) * (0.72 + 0.07 * vectors) *
                            std::min(1.0, 0.6 + 0.05 * pixels) * (lanes == L ? 1.0 : 0.95);
    switch (choice.walk) {
        case Walk::images: return narrow * shares(lanes);
        case Walk::rows: return 0.7 * (lanes == L ? 1.0 : 0.85) * bands(lanes);
        case Walk::channels_of_images: return channels * shares(pixels);
        default: return 0.9 * channels * bands(pixels);
    }
}

// Vectors of half and a quarter of the width, for what whole ones would not fill. In double precision they would save
// little and take as long to compile as everything else.
template <class T>
constexpr bool kNarrower = sizeof(T) == 4;

template <class T, int L>
Choice choose(const Problem& p, int threads) {
    if (p.forced.lanes) return p.forced;
    List<Choice> all;
    for (int lanes = L; lanes >= (kNarrower<T> ? std::max(L / 4, 2) : L); lanes /= 2)
        all.push_back({Walk::images, lanes, 1});
    for (int lanes = L; lanes >= (kNarrower<T> ? L / 2 : L); lanes /= 2) {
        all.push_back({Walk::rows, lanes, 1});
        for (std::int64_t pixels = 1; p.n.known % lanes == 0 && pixels <= kMaxPixels; ++pixels) {
            if (!together<T>(pixels)) continue;
            if (pixels <= p.n.images) all.push_back({Walk::channels_of_images, lanes, pixels});
            if (pixels <= p.n.rows) all.push_back({Walk::channels_of_rows, lanes, pixels});
        }
    }
    return *std::max_element(all.begin(), all.end(), [&](const Choice& a, const Choice& b) {
        return score<L>(p, threads, a) < score<L>(p, threads, b);
    });
}

template <class T, int L>
void solve_by(const Problem& p, const Choice& choice, int threads) {
    switch (choice.walk) {
        case Walk::images: return apply_images<T, L, false>(p, threads);
        case Walk::rows: return solve_rows<T, L>(p, threads);
        case Walk::channels_of_images: return solve_images_by_channels<T, L>(p, choice.pixels, threads);
        case Walk::channels_of_rows: return solve_rows_by_channels<T, L>(p, choice.pixels, threads);
    }
}

template <class T, int L>
void solve(const Problem& p, int threads) {
    const Choice choice = choose<T, L>(p, threads);
    if constexpr (kNarrower<T>) {
        if (choice.lanes == L / 2) return solve_by<T, L / 2>(p, choice, threads);
    }
    if constexpr (kNarrower<T> && L >= 8) {
        if (choice.lanes == L / 4) return apply_images<T, L / 4, false>(p, threads);
    }
    solve_by<T, L>(p, choice, threads);
}

}  // namespace
}  // namespace inverseflow

// The kernel of a convolution as the walks read it, and a cache of recently packed kernels.
#pragma once
#include <atomic>
#include <mutex>

#include "parallel.hpp"
#include "vector.hpp"

namespace inverseflow {
namespace {

// How the output channels are divided into blocks: of at most `widest` units of `lanes` channels.
struct Blocking {
    int lanes, widest;
    bool operator==(const Blocking& other) const { return lanes == other.lanes && widest == other.widest; }
};

// Some output channels of one group. The channels of a transposed kernel are counted backwards, so that its last tap is
// lower triangular too.
template <class T>
struct Block {
    std::int64_t first, count, width;  // width: count and padding up to a whole unit, whose weights are zero
    Buffer<T> weights;                 // (tap, input channel, width); of the last tap only channels before `first`
    Buffer<T> triangle;                // (count, width): row i holds the weights from channel first + i to later ones
    Buffer<T> diagonal;                // (width): of the last tap
    bool scaled;                       // whether the diagonal is anything but ones
};

template <class T>
struct Packed {
    std::int64_t C, kernel_columns, taps;
    List<List<Block<T>>> groups;
    bool finite = true;       // all weights, so that zeros outside of the image contribute nothing to a convolution
    bool keeps_zeros = true;  // also no zero on a diagonal, so that they stay zeros in a solve
    std::atomic<int> owners{1};

    Packed(const Kernel& kernel, const Sizes& n, const Blocking& blocking, int threads)
        : C(n.channels), kernel_columns(n.kernel_columns), taps(n.kernel_rows * n.kernel_columns) {
        const std::int64_t units = (C - n.known + blocking.lanes - 1) / blocking.lanes,
                           blocks = (units + blocking.widest - 1) / blocking.widest;
        for (std::int64_t g = 0; g < n.groups; ++g) {
            groups.emplace_back();
            for (std::int64_t b = 0; b < blocks; ++b) {
                Block<T> block;
                block.first = n.known + units * b / blocks * blocking.lanes;
                block.width = n.known + units * (b + 1) / blocks * blocking.lanes - block.first;
                block.count = std::min(C - block.first, block.width);
                block.weights =
                    (block.count < block.width ? zeros<T> : unset<T>)(((taps - 1) * C + block.first) * block.width);
                block.triangle = zeros<T>(block.count * block.width);
                block.diagonal = zeros<T>(block.width);
                block.scaled = kernel.diagonal != Diagonal::unit;
                groups.back().push_back(std::move(block));
            }
        }
        constexpr std::int64_t kChunk = 16;  // input channels of a task
        const std::int64_t chunks = (C + kChunk - 1) / kChunk, each = blocks * chunks;
        if (each == 0) return;
        const bool large = n.groups * C * C * taps > (1 << 16);
        parallel_for(n.groups * each, large ? threads : 1, [&](std::int64_t task) {
            const std::int64_t group = task / each, chunk = task % chunks;
            Block<T>& block = groups[group][task % each / chunks];
            fill(kernel, group, block, chunk * kChunk, std::min(C, (chunk + 1) * kChunk));
        });
        const T* weight = static_cast<const T*>(kernel.weight);
        T zero = 0;
        for (std::int64_t i = 0; i < n.groups * C * C * taps; ++i) zero += weight[i] * T(0);
        keeps_zeros = finite = zero == T(0);
        for (const auto& group : groups)
            for (const auto& block : group)
                for (std::int64_t i = 0; block.scaled && i < block.count; ++i)
                    keeps_zeros = keeps_zeros && block.diagonal[i] != T(0);
    }

    // The weights from input channels [begin, end) to the block.
    void fill(const Kernel& kernel, std::int64_t group, Block<T>& block, std::int64_t begin, std::int64_t end) const {
        const T* weight = static_cast<const T*>(kernel.weight) + group * C * C * taps;
        // The address of (output, input) channel's first tap.
        auto at = [&](std::int64_t o, std::int64_t i) {
            return kernel.transposed ? weight + ((C - 1 - i) * C + (C - 1 - o)) * taps : weight + (o * C + i) * taps;
        };
        const std::int64_t between = kernel.transposed ? -taps : C * taps, width = block.width;
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t used = taps - (i < block.first ? 0 : 1);
            move_lanes<T, 8, false>(at(block.first, i), between, 1, block.count, used, block.weights.get() + i * width,
                                    C * width);
            const std::int64_t row = i - block.first;
            if (row < 0 || row >= block.count) continue;
            for (std::int64_t o = row + 1; o < block.count; ++o)
                block.triangle[row * width + o] = at(block.first + o, i)[taps - 1];
            block.diagonal[row] = kernel.diagonal == Diagonal::unit   ? T(1)
                                  : kernel.diagonal == Diagonal::free ? at(i, i)[taps - 1]
                                                                      : T(0);
        }
    }
};

// A reference-counted pointer. The code of std::shared_ptr would be the same symbol in every copy of this file, and the
// linker could keep one that another processor cannot run.
template <class P>
class Shared {
public:
    Shared() = default;
    explicit Shared(P* fresh) : it_(fresh) {}
    Shared(const Shared& other) : it_(other.it_) {
        if (it_) ++it_->owners;
    }
    Shared(Shared&& other) noexcept : it_(std::exchange(other.it_, nullptr)) {}
    Shared& operator=(Shared other) noexcept {
        std::swap(it_, other.it_);
        return *this;
    }
    ~Shared() {
        if (it_ && --it_->owners == 0) delete it_;
    }
    const P& operator*() const { return *it_; }

private:
    P* it_ = nullptr;
};

// Packed kernels of recent calls, keyed by value: every call compares all bytes of the weights, so in-place updates are
// always seen, and comparing is much cheaper than packing. Locked by try_lock only: on contention, or after a fork
// while the parent held the lock, the caller packs its own copy. The Python backends have the same design
// (`KernelCache` in ops/_backends/blocked.py).
template <class T>
class Cache {
public:
    static constexpr std::size_t kLargest = std::size_t(8) << 20, kTotal = std::size_t(32) << 20;  // bytes of weights

    Shared<Packed<T>> get(const Kernel& kernel, const Sizes& n, const Blocking& blocking, int threads) {
        const std::size_t size = n.groups * n.channels * n.channels * n.kernel_rows * n.kernel_columns;
        const std::size_t bytes = size * sizeof(T);
        if (bytes > kLargest) return Shared<Packed<T>>(new Packed<T>(kernel, n, blocking, threads));
        Entry entry{{}, kernel, n, blocking, bytes, {}};
        if (const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock); lock)
            for (auto it = entries_.begin(); it != entries_.end(); ++it)
                if (it->fits(entry)) {
                    if (std::memcmp(it->weights.get(), kernel.weight, bytes) == 0) {
                        std::rotate(it, it + 1, entries_.end());  // the last is the most recent
                        return entries_.back().packed;
                    }
                    total_ -= bytes;
                    entries_.erase(it);
                    break;
                }
        entry.weights = unset<T>(size);  // pack from the copy: another thread may change the original
        std::memcpy(entry.weights.get(), kernel.weight, bytes);
        Kernel copy = kernel;
        copy.weight = entry.weights.get();
        entry.packed = Shared<Packed<T>>(new Packed<T>(copy, n, blocking, threads));
        const Shared<Packed<T>> packed = entry.packed;
        if (const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock); lock) {
            total_ += bytes;
            entries_.push_back(std::move(entry));
            while (total_ > kTotal || entries_.size() > 256) {
                total_ -= entries_.front().bytes;
                entries_.erase(entries_.begin());
            }
        }
        return packed;
    }

private:
    struct Entry {
        Buffer<T> weights;
        Kernel kernel;
        Sizes n;
        Blocking blocking;
        std::size_t bytes;
        Shared<Packed<T>> packed;

        bool fits(const Entry& other) const {
            const Sizes &a = n, &b = other.n;
            return kernel.weight == other.kernel.weight && kernel.transposed == other.kernel.transposed &&
                   kernel.diagonal == other.kernel.diagonal && blocking == other.blocking && a.groups == b.groups &&
                   a.channels == b.channels && a.kernel_rows == b.kernel_rows && a.kernel_columns == b.kernel_columns && a.known == b.known;
        }
    };
    std::mutex mutex_;
    List<Entry> entries_;
    std::size_t total_ = 0;
};

template <class T>
Shared<Packed<T>> packed(const Kernel& kernel, const Sizes& n, const Blocking& blocking, int threads) {
    static Cache<T> cache;
    return cache.get(kernel, n, blocking, threads);
}

}  // namespace
}  // namespace inverseflow

// Vectors of one instruction set, memory for them, and the transposition between an image's layout and that of its
// lanes.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "problem.hpp"

namespace inverseflow {
namespace {  // each instruction set compiles its own copy

template <class T, int L>
struct Vector {
    typedef T type __attribute__((vector_size(sizeof(T) * L)));
    typedef T loose __attribute__((vector_size(sizeof(T) * L), aligned(sizeof(T))));
};

// Runs f(0), f(1), ..., f(N - 1) with each number known to the compiler, so that what it indexes can stay in registers.
template <int... I, class F>
inline __attribute__((always_inline)) void unrolled(std::integer_sequence<int, I...>, F&& f) {
    (f(std::integral_constant<int, I>{}), ...);
}
template <int N, class F>
inline __attribute__((always_inline)) void unrolled(F&& f) {
    unrolled(std::make_integer_sequence<int, N>{}, f);
}

template <class T>
struct AlignedDelete {
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
template <class T>
using Buffer = std::unique_ptr<T[], AlignedDelete<T>>;

template <class T>
Buffer<T> unset(std::int64_t size) {
    return Buffer<T>(
        static_cast<T*>(::operator new[](sizeof(T) * std::max<std::int64_t>(size, 1), std::align_val_t(64))));
}

template <class T>
Buffer<T> zeros(std::int64_t size) {
    Buffer<T> buffer = unset<T>(size);
    std::memset(buffer.get(), 0, sizeof(T) * size);
    return buffer;
}

// A vector whose code belongs to this copy alone: were it the same type in all copies, the linker would keep one of
// them, and that could be one for a better processor.
template <class T>
struct Allocator : std::allocator<T> {
    template <class U>
    struct rebind {
        using other = Allocator<U>;
    };
};
template <class T>
using List = std::vector<T, Allocator<T>>;

// L rows of L elements, a stride apart, to the L rows of their transpose.
template <class T, int L>
struct Transpose {
    using V = typename Vector<T, L>::type;
    using U = typename Vector<T, L>::loose;

    static void apply(const T* from, std::int64_t stride, T* to, std::int64_t to_stride) {
        V row[L];
        for (int i = 0; i < L; ++i) row[i] = *reinterpret_cast<const U*>(from + i * stride);
        exchange<L / 2>(row);
        for (int i = 0; i < L; ++i) *reinterpret_cast<U*>(to + i * to_stride) = row[i];
    }

    // Position I of the low half takes lane I of a, or of b where bit S of I is set; of the high half the other way
    // round.
    template <int S, int... I>
    static void swap_blocks(V& a, V& b, std::integer_sequence<int, I...>) {
#ifdef __clang__
        const V low = __builtin_shufflevector(a, b, ((I & S) ? L + (I ^ S) : I)...);
        const V high = __builtin_shufflevector(a, b, ((I & S) ? L + I : (I ^ S))...);
#else  // GCC has the other one from version 12 on only
        using Index = typename Vector<std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>, L>::type;
        const V low = __builtin_shuffle(a, b, Index{((I & S) ? L + (I ^ S) : I)...});
        const V high = __builtin_shuffle(a, b, Index{((I & S) ? L + I : (I ^ S))...});
#endif
        a = low;
        b = high;
    }

    template <int S>
    static void exchange(V* row) {
        if constexpr (S >= 1) {
            for (int i = 0; i < L; ++i)
                if (!(i & S)) swap_blocks<S>(row[i], row[i | S], std::make_integer_sequence<int, L>{});
            exchange<S / 2>(row);
        }
    }
};

inline bool can_transpose(std::int64_t along) {
    return along == 1 || along == -1;
}

// L positions of L lanes: from one stretch of memory for each lane to one vector for each position. `along` is 1 or -1.
template <class T, int L>
void pack_square(const T* from, std::int64_t between, std::int64_t along, T* to, std::int64_t slot) {
    if (along == 1)
        Transpose<T, L>::apply(from, between, to, slot);
    else
        Transpose<T, L>::apply(from - (L - 1), between, to + (L - 1) * slot, -slot);
}

template <class T, int L>
void unpack_square(const T* from, std::int64_t slot, T* to, std::int64_t between, std::int64_t along) {
    if (along == 1)
        Transpose<T, L>::apply(from, slot, to, between);
    else
        Transpose<T, L>::apply(from + (L - 1) * slot, -slot, to - (L - 1), between);
}

// Any number of lanes and positions, in squares of S and smaller ones at the edges. Lane l at position p is
// plane[l * between + p * along] and packed[p * slot + l].
template <class T, int S, bool Unpack, class Plane, class Packed>
void move_lanes(Plane* plane, std::int64_t between, std::int64_t along, std::int64_t lanes, std::int64_t positions,
                Packed* packed, std::int64_t slot) {
    if constexpr (S >= 4) {
        if (can_transpose(along)) {
            const std::int64_t whole_lanes = lanes / S * S, whole_positions = positions / S * S;
            for (std::int64_t p = 0; p < whole_positions; p += S)
                for (std::int64_t l = 0; l < whole_lanes; l += S) {
                    if constexpr (Unpack)
                        unpack_square<T, S>(packed + p * slot + l, slot, plane + l * between + p * along, between,
                                            along);
                    else
                        pack_square<T, S>(plane + l * between + p * along, between, along, packed + p * slot + l, slot);
                }
            if (whole_lanes && whole_positions < positions)
                move_lanes<T, S / 2, Unpack>(plane + whole_positions * along, between, along, whole_lanes,
                                             positions - whole_positions, packed + whole_positions * slot, slot);
            if (whole_lanes < lanes)
                move_lanes<T, S / 2, Unpack>(plane + whole_lanes * between, between, along, lanes - whole_lanes,
                                             positions, packed + whole_lanes, slot);
            return;
        }
    }
    for (std::int64_t p = 0; p < positions; ++p)
        for (std::int64_t l = 0; l < lanes; ++l) {
            if constexpr (Unpack)
                plane[l * between + p * along] = packed[p * slot + l];
            else
                packed[p * slot + l] = plane[l * between + p * along];
        }
}

// Some rows of W pixels of one plane for each lane, as one stretch where they are one in memory.
template <class T, int L, bool Unpack, class Plane, class Packed>
void move_rows(Plane* plane, const Strides& s, std::int64_t between, std::int64_t lanes, std::int64_t rows,
               std::int64_t W, Packed* packed, std::int64_t slot, std::int64_t pitch) {
    if (s.row == W * s.column && pitch == W * slot)
        return move_lanes<T, L, Unpack>(plane, between, s.column, lanes, rows * W, packed, slot);
    for (std::int64_t h = 0; h < rows; ++h)
        move_lanes<T, L, Unpack>(plane + h * s.row, between, s.column, lanes, W, packed + h * pitch, slot);
}

}  // namespace
}  // namespace inverseflow

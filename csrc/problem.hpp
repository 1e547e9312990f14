// What is asked for, in plain pointers, sizes and strides.
#pragma once
#include <cstdint>

namespace inverseflow {

struct Strides {
    std::int64_t image, channel, row, column;  // in elements; any sign
};

struct Sizes {
    std::int64_t images, groups, channels, rows, columns;  // channels of one group
    std::int64_t kernel_rows, kernel_columns;
    std::int64_t known = 0;  // channels of each group, the first of the walk, that a solve reads but does not solve
};

// What stands on the diagonal of the last tap: what the kernel has there, ones, or zeros.
enum class Diagonal { free, unit, zero };

// The kernel as the user has it, (groups * channels, channels, kernel_rows, kernel_columns), contiguous. Only the lower
// triangle of the last tap is read. `transposed` swaps the channel axes.
struct Kernel {
    const void* weight;
    bool transposed;
    Diagonal diagonal;
};

// What a SIMD lane of the solve indexes (image, row or channel) and the vector width. Where lanes are channels, several
// pixels are solved at a time: one of each of several images, or one of each of several rows of one image.
enum class Walk { images, rows, channels_of_images, channels_of_rows };

struct Choice {
    Walk walk;
    int lanes;  // 0: choose the walk
    std::int64_t pixels;
};

// target = A^{-1} source, or A source if `convolve`.
struct Problem {
    Sizes n;
    const void* source;
    void* target;
    Kernel kernel;
    Strides of_source, of_target;
    bool convolve;
    Choice forced;  // of a solve
};

struct Correlation {
    Sizes n;
    const void* x;
    const void* grad;
    void* result;  // of the kernel's shape
    Strides of_x, of_grad;
    Diagonal diagonal;  // entries that are not read get zero
};

}  // namespace inverseflow

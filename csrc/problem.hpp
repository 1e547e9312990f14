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
};

// What stands on the diagonal of the last tap: what the kernel has there, ones, or zeros.
enum class Diagonal { free, unit, zero };

// The kernel as the user has it, (groups * channels, channels, kernel_rows, kernel_columns), contiguous. Of the last tap the
// lower triangle is read. `transposed` swaps the channel axes.
struct Kernel {
    const void* weight;
    bool transposed;
    Diagonal diagonal;
};

// Who the lanes of a vector are, and how many there are; lanes that are channels take some pixels at a time, of as many images
// or of as many rows of one image.
enum class Walk { images, rows, channels_of_images, channels_of_rows };

struct Choice {
    Walk walk;
    int lanes;  // 0: none, the walk is to be chosen
    std::int64_t pixels;
};

// target = A^{-1} source, or A source where `convolve`.
struct Problem {
    Sizes n;
    const void* source;
    void* target;
    Kernel kernel;
    Strides of_source, of_target;
    bool convolve;
    Choice forced;
};

struct Correlation {
    Sizes n;
    const void* x;
    const void* grad;
    void* result;  // of the kernel's shape
    Strides of_x, of_grad;
    Diagonal diagonal;  // what the kernel does not read gets zero
};

}  // namespace inverseflow

// What a solve is asked for, in plain pointers, sizes and strides.
#pragma once
#include <cstdint>

namespace inverseflow {

struct Strides {
    std::int64_t image, channel, row, column;  // in elements; any sign
};

struct Problem {
    const void* y;
    void* x;
    const void* kernel;  // (groups * channels, channels, kernel_rows, kernel_columns), contiguous
    Strides of_y, of_x;
    std::int64_t images, groups, channels, rows, columns;  // channels of one group
    std::int64_t kernel_rows, kernel_columns;
    bool upper;  // the last tap is upper triangular instead of lower
};

struct Correlation {
    const void* x;
    const void* grad;
    void* result;  // (groups * channels, channels, kernel_rows, kernel_columns), contiguous
    Strides of_x, of_grad;
    std::int64_t images, groups, channels, rows, columns;
    std::int64_t kernel_rows, kernel_columns;
};

}  // namespace inverseflow

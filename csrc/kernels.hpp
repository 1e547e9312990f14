// The kernels, compiled once for each instruction set.
#pragma once
#include "problem.hpp"

namespace inverseflow {

struct Kernels {
    const char* instruction_set;
    void (*apply_float)(const Problem&, int threads);
    void (*apply_double)(const Problem&, int threads);
    Choice (*choose_float)(const Problem&, int threads);
    Choice (*choose_double)(const Problem&, int threads);
    void (*correlate_float)(const Correlation&, int threads);
    void (*correlate_double)(const Correlation&, int threads);
};

extern const Kernels avx2_kernels;      // where INVERSEFLOW_X86 is defined
extern const Kernels avx512_kernels;    // likewise
extern const Kernels baseline_kernels;  // where INVERSEFLOW_BASELINE is defined

}  // namespace inverseflow

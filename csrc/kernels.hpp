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

extern const Kernels baseline_kernels;
#ifdef INVERSEFLOW_X86
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

}  // namespace inverseflow

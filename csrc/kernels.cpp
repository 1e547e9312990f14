// Compiled once for each instruction set, with INSTRUCTION_SET its name and VECTOR_BYTES the width of its registers.
#include "kernels.hpp"

#include "correlate.hpp"
#include "solve.hpp"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define STRING_(a) #a
#define STRING(a) STRING_(a)

namespace inverseflow {

const Kernels JOIN(INSTRUCTION_SET, _kernels) = {
    STRING(INSTRUCTION_SET),
    &apply<float, VECTOR_BYTES / 4>,
    &apply<double, VECTOR_BYTES / 8>,
    &choose<VECTOR_BYTES / 4>,
    &choose<VECTOR_BYTES / 8>,
    &correlate<float, VECTOR_BYTES / 4>,
    &correlate<double, VECTOR_BYTES / 8>,
};

}  // namespace inverseflow

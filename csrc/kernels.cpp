// Compiled once for each instruction set, with INSTRUCTION_SET its name and VECTOR_BYTES the width of its registers.
#include "kernels.hpp"

#include "convolve.hpp"
#include "correlate.hpp"
#include "solve.hpp"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define STRING_(a) #a
#define STRING(a) STRING_(a)

namespace inverseflow {
namespace {

template <class T, int L>
void apply(const Problem& p, int threads) {
    (p.convolve ? convolve<T, L> : solve<T, L>)(p, threads);
}

}  // namespace

const Kernels JOIN(INSTRUCTION_SET, _kernels) = {
    STRING(INSTRUCTION_SET),
    &apply<float, VECTOR_BYTES / 4>,
    &apply<double, VECTOR_BYTES / 8>,
    &choose<float, VECTOR_BYTES / 4>,
    &choose<double, VECTOR_BYTES / 8>,
    &correlate<float, VECTOR_BYTES / 4>,
    &correlate<double, VECTOR_BYTES / 8>,
};

}  // namespace inverseflow

// The Python module: plain addresses, sizes and strides come in, so that one build serves every version of torch.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace nb = nanobind;
using namespace inverseflow;

namespace {

using Strided = std::array<std::int64_t, 4>;  // image, channel, row, column
using Sizes = std::array<std::int64_t, 7>;    // images, groups, channels of a group, rows, columns, kernel rows and columns

// The kernels that this processor can run, best first.
std::vector<const Kernels*> usable() {
    std::vector<const Kernels*> kernels;
#ifdef INVERSEFLOW_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        kernels.push_back(&avx512_kernels);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels.push_back(&avx2_kernels);
#endif
    kernels.push_back(&baseline_kernels);
    return kernels;
}

const Kernels& named(const std::string& instruction_set) {
    static const std::vector<const Kernels*> all = usable();
    if (instruction_set.empty()) return *all.front();
    for (const Kernels* kernels : all)
        if (instruction_set == kernels->instruction_set) return *kernels;
    throw std::invalid_argument("this processor has no " + instruction_set);
}

Strides strides(const Strided& s) { return {s[0], s[1], s[2], s[3]}; }

void solve(std::uintptr_t y, const Strided& of_y, std::uintptr_t x, const Strided& of_x, std::uintptr_t kernel,
           const Sizes& n, bool upper, bool is_double, int threads, const std::string& instruction_set) {
    const Problem problem{reinterpret_cast<const void*>(y), reinterpret_cast<void*>(x),
                          reinterpret_cast<const void*>(kernel), strides(of_y), strides(of_x),
                          n[0], n[1], n[2], n[3], n[4], n[5], n[6], upper};
    const Kernels& kernels = named(instruction_set);
    (is_double ? kernels.solve_double : kernels.solve_float)(problem, threads);
}

void correlate(std::uintptr_t x, const Strided& of_x, std::uintptr_t grad, const Strided& of_grad, std::uintptr_t result,
               const Sizes& n, bool is_double, int threads, const std::string& instruction_set) {
    const Correlation correlation{reinterpret_cast<const void*>(x), reinterpret_cast<const void*>(grad),
                                  reinterpret_cast<void*>(result), strides(of_x), strides(of_grad),
                                  n[0], n[1], n[2], n[3], n[4], n[5], n[6]};
    const Kernels& kernels = named(instruction_set);
    (is_double ? kernels.correlate_double : kernels.correlate_float)(correlation, threads);
}

std::string variant(const Sizes& n, bool is_double, int threads, const std::string& instruction_set) {
    const Problem problem{nullptr, nullptr, nullptr, {}, {}, n[0], n[1], n[2], n[3], n[4], n[5], n[6], false};
    const Kernels& kernels = named(instruction_set);
    return std::string(kernels.instruction_set) + ", lanes are " +
           (is_double ? kernels.lanes_double : kernels.lanes_float)(problem, threads);
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The triangular solve and its weight gradient on a CPU.";
    m.def("solve", &solve, nb::call_guard<nb::gil_scoped_release>());
    m.def("correlate", &correlate, nb::call_guard<nb::gil_scoped_release>());
    m.def("variant", &variant);
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const Kernels* kernels : usable()) names.push_back(kernels->instruction_set);
        return names;
    });
}

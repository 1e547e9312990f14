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

using Four = std::array<std::int64_t, 4>;   // of images, channels, rows, columns; of a weight's shape
using Three = std::array<std::int64_t, 3>;  // walk, lanes (0: the walk is to be chosen), pixels

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

Sizes sizes(const Four& image, const Four& weight, std::int64_t groups) {
    if (groups < 1 || weight[0] != image[1] || weight[1] * groups != image[1] || weight[2] < 1 || weight[3] < 1)
        throw std::invalid_argument("image, kernel and groups do not fit");
    return {image[0], groups, image[1] / groups, image[2], image[3], weight[2], weight[3]};
}

// An image from the corner where the walk starts: a walk upwards or leftwards is a matter of strides.
template <class Pointer>
struct Image {
    Pointer first;
    Strides strides;

    Image(std::uintptr_t address, const Four& s, const Four& shape, bool from_bottom, bool from_right, bool is_double)
        : strides{s[0], s[1], from_bottom ? -s[2] : s[2], from_right ? -s[3] : s[3]} {
        const std::int64_t offset = (from_bottom ? (shape[2] - 1) * s[2] : 0) + (from_right ? (shape[3] - 1) * s[3] : 0);
        first = reinterpret_cast<Pointer>(address + offset * (is_double ? 8 : 4));
    }
};

Diagonal diagonal(const std::string& word) {
    if (word == "free") return Diagonal::free;
    if (word == "unit") return Diagonal::unit;
    if (word == "zero") return Diagonal::zero;
    throw std::invalid_argument("unknown diagonal " + word);
}

void apply(bool convolve, std::uintptr_t from, const Four& of_source, std::uintptr_t to, const Four& of_target, std::uintptr_t weight,
           const Four& shape, const Four& weight_shape, std::int64_t groups, bool from_bottom, bool from_right,
           const std::string& on_diagonal, bool transposed, bool is_double, int threads, const std::string& instruction_set,
           const Three& forced) {
    const Image<const void*> source(from, of_source, shape, from_bottom, from_right, is_double);
    const Image<void*> target(to, of_target, shape, from_bottom, from_right, is_double);
    const Problem problem{sizes(shape, weight_shape, groups),
                          source.first,
                          target.first,
                          {reinterpret_cast<const void*>(weight), transposed, diagonal(on_diagonal)},
                          source.strides,
                          target.strides,
                          convolve,
                          {static_cast<Walk>(forced[0]), static_cast<int>(forced[1]), forced[2]}};
    const Kernels& kernels = named(instruction_set);
    (is_double ? kernels.apply_double : kernels.apply_float)(problem, threads);
}

void correlate(std::uintptr_t x, const Four& of_x, std::uintptr_t grad, const Four& of_grad, std::uintptr_t result, const Four& shape,
               const Four& weight_shape, std::int64_t groups, bool from_bottom, bool from_right, const std::string& on_diagonal, bool is_double,
               int threads, const std::string& instruction_set) {
    const Image<const void*> image(x, of_x, shape, from_bottom, from_right, is_double);
    const Image<const void*> arriving(grad, of_grad, shape, from_bottom, from_right, is_double);
    const Correlation correlation{sizes(shape, weight_shape, groups), image.first,      arriving.first,
                                  reinterpret_cast<void*>(result),    image.strides,    arriving.strides, diagonal(on_diagonal)};
    const Kernels& kernels = named(instruction_set);
    (is_double ? kernels.correlate_double : kernels.correlate_float)(correlation, threads);
}

std::string variant(const Four& shape, const Four& weight_shape, std::int64_t groups, bool is_double, int threads,
                    const std::string& instruction_set) {
    Problem problem{};
    problem.n = sizes(shape, weight_shape, groups);
    const Kernels& kernels = named(instruction_set);
    const Choice choice = (is_double ? kernels.choose_double : kernels.choose_float)(problem, threads);
    const std::string vectors = std::string(kernels.instruction_set) + ", " + std::to_string(choice.lanes) + " lanes are ";
    const std::string pixels = std::to_string(choice.pixels);
    switch (choice.walk) {
        case Walk::images: return vectors + "images";
        case Walk::rows: return vectors + "rows";
        case Walk::channels_of_images: return vectors + "channels, " + pixels + " images at a time";
        default: return vectors + "channels, " + pixels + " rows at a time";
    }
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The triangular solve and its weight gradient on a CPU.";
    m.def("apply", &apply, nb::call_guard<nb::gil_scoped_release>());
    m.def("correlate", &correlate, nb::call_guard<nb::gil_scoped_release>());
    m.def("variant", &variant);
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const Kernels* kernels : usable()) names.push_back(kernels->instruction_set);
        return names;
    });
}

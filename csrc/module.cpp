// The Python module. Its functions take plain addresses, sizes and strides, so that one build serves every version of
// torch. They use the limited C API, so that it serves every version of Python. A binding library would take longer to
// compile than everything else here.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.hpp"

using namespace inverseflow;

namespace {

using Integer = long long;

// Four numbers: the shape or the strides of a batch of images (images, channels, rows, columns), or a weight's shape.
struct Four {
    Integer of[4];
    Integer operator[](int axis) const { return of[axis]; }
};

// The arguments that `apply`, `correlate` and `variant` share.
struct Call {
    Four shape, weight_shape;
    Integer groups;
    int from_bottom, from_right;  // where the walk starts
    const char* diagonal;
    int is_double, threads;
    const char* instruction_set;  // empty for the best
};

// The kernels that this processor can run, best first; none for an x86 processor without AVX2.
std::vector<const Kernels*> usable_kernels() {
    std::vector<const Kernels*> kernels;
#ifdef INVERSEFLOW_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        kernels.push_back(&avx512_kernels);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels.push_back(&avx2_kernels);
#endif
#ifdef INVERSEFLOW_BASELINE
    kernels.push_back(&baseline_kernels);
#endif
    return kernels;
}

// The kernels of an instruction set, or the best of this processor if the name is empty.
const Kernels& kernels_for(const std::string& instruction_set) {
    static const std::vector<const Kernels*> all = usable_kernels();
    if (instruction_set.empty() && !all.empty()) return *all.front();
    for (const Kernels* kernels : all)
        if (instruction_set == kernels->instruction_set) return *kernels;
    throw std::invalid_argument("this processor has no " + instruction_set);
}

Sizes sizes(const Four& image, const Four& weight, Integer groups, Integer known = 0) {
    if (groups < 1 || known < 0 || known > image[1] || weight[0] != image[1] || weight[1] * groups != image[1] || weight[2] < 1 || weight[3] < 1)
        throw std::invalid_argument("image, kernel and groups do not fit");
    return {image[0], groups, image[1] / groups, image[2], image[3], weight[2], weight[3], known};
}

// An image whose first pixel is the corner where the walk starts. Negative strides make it walk up or to the left.
struct Image {
    void* first;
    Strides strides;

    Image(unsigned long long address, const Four& s, const Call& call)
        : strides{s[0], s[1], call.from_bottom ? -s[2] : s[2], call.from_right ? -s[3] : s[3]} {
        const Integer offset =
            (call.from_bottom ? (call.shape[2] - 1) * s[2] : 0) + (call.from_right ? (call.shape[3] - 1) * s[3] : 0);
        first = reinterpret_cast<void*>(address + offset * (call.is_double ? 8 : 4));
    }
};

Diagonal parse_diagonal(const std::string& word) {
    if (word == "free") return Diagonal::free;
    if (word == "unit") return Diagonal::unit;
    if (word == "zero") return Diagonal::zero;
    throw std::invalid_argument("unknown diagonal " + word);
}

// Runs the work without the lock of the interpreter, turns a C++ exception into a Python one, and returns whether there
// was none.
template <class Work>
bool run_without_lock(Work&& work) {
    PyObject* type = nullptr;
    std::string message;
    PyThreadState* state = PyEval_SaveThread();
    try {
        work();
    } catch (const std::invalid_argument& error) {
        type = PyExc_ValueError;
        message = error.what();
    } catch (const std::bad_alloc&) {
        type = PyExc_MemoryError;
        message = "not enough memory for the call";
    } catch (const std::exception& error) {
        type = PyExc_RuntimeError;
        message = error.what();
    }
    PyEval_RestoreThread(state);
    if (type) PyErr_SetString(type, message.c_str());
    return !type;
}

PyObject* apply(PyObject*, PyObject* args) {
    Call c{};
    Four s{}, t{};  // strides of source and target
    int convolve, transposed, walk, lanes;
    unsigned long long from, to, weight;
    Integer pixels, known = 0;
    if (!PyArg_ParseTuple(args, "pK(LLLL)K(LLLL)K(LLLL)(LLLL)Lppsppis(iiL)|L:apply", &convolve, &from, &s.of[0], &s.of[1],
                          &s.of[2], &s.of[3], &to, &t.of[0], &t.of[1], &t.of[2], &t.of[3], &weight, &c.shape.of[0],
                          &c.shape.of[1], &c.shape.of[2], &c.shape.of[3], &c.weight_shape.of[0], &c.weight_shape.of[1],
                          &c.weight_shape.of[2], &c.weight_shape.of[3], &c.groups, &c.from_bottom, &c.from_right,
                          &c.diagonal, &transposed, &c.is_double, &c.threads, &c.instruction_set, &walk, &lanes,
                          &pixels, &known))
        return nullptr;
    const bool succeeded = run_without_lock([&] {
        const Image source(from, s, c), target(to, t, c);
        const Problem problem{sizes(c.shape, c.weight_shape, c.groups, known),
                              source.first,
                              target.first,
                              {reinterpret_cast<const void*>(weight), transposed != 0, parse_diagonal(c.diagonal)},
                              source.strides,
                              target.strides,
                              convolve != 0,
                              {static_cast<Walk>(walk), lanes, pixels}};
        const Kernels& kernels = kernels_for(c.instruction_set);
        (c.is_double ? kernels.apply_double : kernels.apply_float)(problem, c.threads);
    });
    if (!succeeded) return nullptr;
    Py_RETURN_NONE;
}

PyObject* correlate(PyObject*, PyObject* args) {
    Call c{};
    Four s{}, t{};  // strides of image and gradient
    unsigned long long x, grad, result;
    if (!PyArg_ParseTuple(args, "K(LLLL)K(LLLL)K(LLLL)(LLLL)Lppspis:correlate", &x, &s.of[0], &s.of[1], &s.of[2],
                          &s.of[3], &grad, &t.of[0], &t.of[1], &t.of[2], &t.of[3], &result, &c.shape.of[0],
                          &c.shape.of[1], &c.shape.of[2], &c.shape.of[3], &c.weight_shape.of[0], &c.weight_shape.of[1],
                          &c.weight_shape.of[2], &c.weight_shape.of[3], &c.groups, &c.from_bottom, &c.from_right,
                          &c.diagonal, &c.is_double, &c.threads, &c.instruction_set))
        return nullptr;
    const bool succeeded = run_without_lock([&] {
        const Image image(x, s, c), gradient(grad, t, c);
        const Correlation correlation{sizes(c.shape, c.weight_shape, c.groups),
                                      image.first,
                                      gradient.first,
                                      reinterpret_cast<void*>(result),
                                      image.strides,
                                      gradient.strides,
                                      parse_diagonal(c.diagonal)};
        const Kernels& kernels = kernels_for(c.instruction_set);
        (c.is_double ? kernels.correlate_double : kernels.correlate_float)(correlation, c.threads);
    });
    if (!succeeded) return nullptr;
    Py_RETURN_NONE;
}

// The choice in words, for `inverseflow.ops.explain`.
std::string describe(const char* instruction_set, const Choice& choice) {
    const std::string vectors = std::string(instruction_set) + ", " + std::to_string(choice.lanes) + " lanes are ";
    const std::string pixels = std::to_string(choice.pixels);
    switch (choice.walk) {
        case Walk::images: return vectors + "images";
        case Walk::rows: return vectors + "rows";
        case Walk::channels_of_images: return vectors + "channels, " + pixels + " images at a time";
        default: return vectors + "channels, " + pixels + " rows at a time";
    }
}

PyObject* variant(PyObject*, PyObject* args) {
    Call c{};
    Integer known = 0;
    if (!PyArg_ParseTuple(args, "(LLLL)(LLLL)Lpis|L:variant", &c.shape.of[0], &c.shape.of[1], &c.shape.of[2],
                          &c.shape.of[3], &c.weight_shape.of[0], &c.weight_shape.of[1], &c.weight_shape.of[2],
                          &c.weight_shape.of[3], &c.groups, &c.is_double, &c.threads, &c.instruction_set,
                          &known))
        return nullptr;
    std::string text;
    const bool succeeded = run_without_lock([&] {
        Problem problem{};
        problem.n = sizes(c.shape, c.weight_shape, c.groups, known);
        const Kernels& kernels = kernels_for(c.instruction_set);
        const Choice choice = (c.is_double ? kernels.choose_double : kernels.choose_float)(problem, c.threads);
        text = describe(kernels.instruction_set, choice);
    });
    return succeeded ? PyUnicode_FromString(text.c_str()) : nullptr;
}

PyObject* instruction_sets(PyObject*, PyObject*) {
    PyObject* names = PyList_New(0);
    for (const Kernels* kernels : usable_kernels()) {
        PyObject* name = names ? PyUnicode_FromString(kernels->instruction_set) : nullptr;
        if (!name || PyList_Append(names, name)) Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

PyMethodDef methods[] = {
    {"apply", apply, METH_VARARGS, "Solve, or convolve, and write the result into an existing tensor."},
    {"correlate", correlate, METH_VARARGS, "Write the gradient of the kernel into an existing tensor."},
    {"variant", variant, METH_VARARGS, "Describe the instruction set and the order of computation that a solve uses."},
    {"instruction_sets", instruction_sets, METH_NOARGS, "Return the names of the usable instruction sets, best first."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    "_native",
    "The triangular solve, the convolution, and the gradient of its kernel on a CPU.",
    -1,
    methods,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__native() {
    return PyModule_Create(&module);
}

// OpenMP, because torch uses it too: its runtime, which is loaded already, has threads that are awake, and a pool of
// our own would fight with them for the cores.
#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <exception>

namespace inverseflow {

void parallel_for(std::int64_t tasks, int threads, const std::function<void(std::int64_t)>& task) {
    std::atomic<std::int64_t> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr failure;
    auto work = [&] {  // no exception may leave a parallel region
        try {
            while (!failed) {  // whatever is taken is run: another task may wait for it
                const std::int64_t i = next++;
                if (i >= tasks) break;
                task(i);
            }
        } catch (...) {
            if (!failed.exchange(true)) failure = std::current_exception();
        }
    };
    threads = static_cast<int>(std::min<std::int64_t>(threads, tasks));
    if (threads <= 1) {
        work();
    } else {
#pragma omp parallel num_threads(threads)
        work();
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace inverseflow

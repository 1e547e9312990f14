// OpenMP, because torch uses it too: its runtime, which is loaded already, has threads that are awake, and a pool of our own
// would fight with them for the cores.
#include "parallel.hpp"

#include <algorithm>
#include <atomic>

namespace inverseflow {

void parallel_for(std::int64_t tasks, int threads, const std::function<void(std::int64_t)>& task) {
    std::atomic<std::int64_t> next{0};
    auto work = [&] {
        for (std::int64_t i = next++; i < tasks; i = next++) task(i);
    };
    threads = static_cast<int>(std::min<std::int64_t>(threads, tasks));
    if (threads <= 1) return work();
#pragma omp parallel num_threads(threads)
    work();
}

}  // namespace inverseflow

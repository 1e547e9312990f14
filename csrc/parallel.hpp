// The tasks of one call, shared among threads.
#pragma once
#include <cstdint>
#include <functional>

namespace inverseflow {

// Calls task(i) for every i in [0, tasks) on up to `threads` threads. Tasks are started in the order of i, so that one
// may wait for an earlier one.
void parallel_for(std::int64_t tasks, int threads, const std::function<void(std::int64_t)>& task);

}  // namespace inverseflow

#include "pool.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace inverseflow {
namespace {

struct Job {
    const std::function<void(std::int64_t)>& task;
    const std::int64_t tasks;
    std::atomic<std::int64_t> next{0};

    void work() {
        for (std::int64_t i = next++; i < tasks; i = next++) task(i);
    }
};

// Never destroyed: its threads sleep on it until the process ends.
class Pool {
  public:
    const pid_t process = getpid();
    std::mutex in_use;

    void run(Job& job, int threads) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            for (; size_ < threads - 1; ++size_) std::thread([this] { serve(); }).detach();
            job_ = &job;
            places_ = threads - 1;
        }
        wake_.notify_all();
        job.work();
        std::unique_lock<std::mutex> lock(mutex_);
        job_ = nullptr;
        left_.wait(lock, [this] { return busy_ == 0; });
    }

  private:
    void serve() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [this] { return job_ && places_ > 0; });
            Job& job = *job_;
            --places_;
            ++busy_;
            lock.unlock();
            job.work();
            lock.lock();
            if (--busy_ == 0) left_.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, left_;
    Job* job_ = nullptr;
    int size_ = 0, places_ = 0, busy_ = 0;
};

Pool& pool() {
    static std::mutex mutex;
    static Pool* current = nullptr;
    const std::lock_guard<std::mutex> lock(mutex);
    // A forked child has none of its parent's threads.
    if (!current || current->process != getpid()) current = new Pool;
    return *current;
}

}  // namespace

void parallel_for(std::int64_t tasks, int threads, const std::function<void(std::int64_t)>& task) {
    Job job{task, tasks};
    threads = static_cast<int>(std::min<std::int64_t>(threads, tasks));
    if (threads <= 1) return job.work();
    Pool& shared = pool();
    const std::unique_lock<std::mutex> alone(shared.in_use, std::try_to_lock);
    if (!alone.owns_lock()) return job.work();  // another thread of the caller's keeps the pool busy
    shared.run(job, threads);
}

}  // namespace inverseflow

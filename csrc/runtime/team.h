/* The thread team: who am I, how many are we, and a barrier. With executor.c the only place that knows OpenMP; a build
 * without it has teams of one.
 *
 * The barrier spins for a bounded time and then yields, so that a team larger than the machine still makes progress.
 * Every member computes with the default floating-point environment, whatever its thread had. */
#ifndef FNN_TEAM_H
#define FNN_TEAM_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

/* Floating-point environment: rounding to nearest, no flush to zero, exceptions masked. */
static inline uint64_t fnn_fp_enter(void)
{
#if defined(__x86_64__) || defined(__i386__)
    const uint64_t before = _mm_getcsr();
    if ((before & ~(uint64_t)0x3F) != 0x1F80) _mm_setcsr(0x1F80);
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    if (before) __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return before;
#else
    return 0;
#endif
}

static inline void fnn_fp_leave(uint64_t before)
{
#if defined(__x86_64__) || defined(__i386__)
    if ((before & ~(uint64_t)0x3F) != 0x1F80) _mm_setcsr((uint32_t)before);
#elif defined(__aarch64__)
    if (before) __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

static inline void fnn_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#define FNN_SEEN 64 /* members whose CPU is noted; larger teams do without for the others */

/* Shared by the members of one team; each counter on a cache line of its own. */
typedef struct fnn_barrier {
    _Alignas(64) atomic_int waiting;
    _Alignas(64) atomic_uint round;
    bool leave; /* the verdict of the last barrier, written by the last to arrive */
} fnn_barrier;

/* The barrier of the one team that runs at a time. It goes on from where the team before has left it: one made anew for each
 * team would have to be fetched from the cache of the thread that made it. */
extern fnn_barrier fnn_team_barrier;

/* Member `id` notes its CPU. What is noted outlives the team and is seldom written, for the same reason. */
void fnn_team_seen(int id);

/* For a member that has just been woken or has waited for long: if it sits on a CPU that another member was last seen on, it
 * moves to one without, if its affinity has any. A system that wakes sleeping threads may put two on one CPU and leave them
 * there for as long as their work comes in short pieces, while the other CPUs are idle. */
void fnn_team_spread(int id, int count);

#define FNN_SPIN 2000 /* pauses before a waiting thread yields: some 30 us, more than a barrier between busy threads takes */

/* Returns whether the team is to leave. `leave` is read by one thread, the last to arrive, so all get one answer even
 * if another thread is already past the barrier and sets it anew. */
static inline bool fnn_barrier_wait(fnn_barrier *b, int id, int count, const atomic_bool *leave)
{
    if (count == 1) return atomic_load_explicit(leave, memory_order_relaxed);
    const unsigned round = atomic_load_explicit(&b->round, memory_order_relaxed);
    fnn_team_seen(id);
    if (atomic_fetch_add_explicit(&b->waiting, 1, memory_order_acq_rel) == count - 1) {
        b->leave = atomic_load_explicit(leave, memory_order_relaxed);
        const bool verdict = b->leave;
        atomic_store_explicit(&b->waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&b->round, round + 1, memory_order_release);
        return verdict;
    }
    for (int spins = 0; atomic_load_explicit(&b->round, memory_order_acquire) == round; spins++) {
        if (spins < FNN_SPIN) {
            fnn_pause();
            continue;
        }
        if (spins == FNN_SPIN) fnn_team_spread(id, count);
        sched_yield();
    }
    return b->leave;
}

/* What part of an operation a thread does: thread `id` of `count`, and of the batch the rows [begin, end). */
typedef struct fnn_split {
    int id, count;
    size_t begin, end;
} fnn_split;

/* The rows of thread id of count: contiguous and equal to within one. */
static inline fnn_split fnn_split_of(int id, int count, size_t rows)
{
    const size_t i = (size_t)id, n = (size_t)count, each = rows / n, rest = rows % n;
    const size_t begin = i * each + (i < rest ? i : rest);
    return (fnn_split){id, count, begin, begin + each + (i < rest)};
}

/* One team at a time and none in a forked child: true if the caller may open one now (team.c). */
bool fnn_team_acquire(void);
void fnn_team_release(void);

/* body(argument, id, count, barrier) on `threads` threads, or on one where a team is not to be had. */
typedef void fnn_team_body(void *argument, int id, int count, fnn_barrier *barrier);

static inline void fnn_team_run(int threads, fnn_team_body *body, void *argument)
{
#ifdef _OPENMP
    if (threads > 1 && fnn_team_acquire()) {
        fnn_team_seen(0); /* before the others look */
#pragma omp parallel num_threads(threads)
        {
            const uint64_t before = fnn_fp_enter();
            const int id = omp_get_thread_num();
            if (id > 0) {
                fnn_team_seen(id);
                fnn_team_spread(id, omp_get_num_threads());
            }
            body(argument, id, omp_get_num_threads(), &fnn_team_barrier); /* fewer may have come than were asked for */
            fnn_fp_leave(before);
        }
        fnn_team_release();
        return;
    }
#else
    (void)threads;
#endif
    const uint64_t before = fnn_fp_enter();
    body(argument, 0, 1, NULL); /* who is alone never waits */
    fnn_fp_leave(before);
}

#endif

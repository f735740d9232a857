/* The thread team: how many may work, who is who among them, and a barrier.
 *
 * The threads are OpenMP's, one parallel region a call; a build without it has teams of one. One team runs at a time: a second Python
 * thread that calls meanwhile works alone, so that callers never oversubscribe the machine between them. A process forked without
 * exec has lost OpenMP's threads, whichever library started them, and a region there may hang: it works on one thread for good.
 *
 * The barrier spins for a bounded time and then yields, so that a team larger than the machine still makes progress.
 * Every member computes with the default floating-point environment, whatever its thread had. */
#ifndef FNN_TEAM_H
#define FNN_TEAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autotune.h"
#include "platform.h"

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

/* ---- how many ---- */

#define FNN_MAX_TEAM 4096
#define FNN_TEAM_WORK 2e6 /* from this work on a team is tried first: some 20 us of one thread */

/* Threads of a team from now on. `exact`: as many, whatever the machine has; else no more than the calling thread has CPUs. */
void fnn_team_configure(int threads, bool exact);

/* Threads that a team of the calling thread would have now; 1 where there is none to be had. The CPUs are counted anew every 10 ms. */
int fnn_team_size(void);

/* Whether calls of the calling thread keep to that one, since others do work of their own beside it; returns what held before. */
bool fnn_team_alone(bool from_now);

/* Threads that a call with so much work may use: those of a team, or 1 where a team never pays. In floating-point operations, or what
 * takes as long. */
int fnn_team_for(double work);

/* For tests: calls with at least so much work are always done by a team, others by one thread; negative: what is faster is measured
 * again. Returns what held before. */
double fnn_team_force(double work);

/* `tune` for a call with so much work, with a first guess if it is new; NULL where nothing is measured. */
fnn_autotune *fnn_autotune_for(fnn_autotune *tune, double work);

/* Whether the system has refused to make threads since this was last asked: until `fnn_team_configure` is called again teams have only
 * those that there are, and *threads says how many. */
bool fnn_team_refused(int *threads);

/* CPUs that the calling thread may use; with OpenMP's places all of them, though each thread may be bound to one. */
int fnn_cpus(void);

int fnn_omp_max_threads(void); /* OpenMP's own limit, which others may change at any time; 1 in a build without */
int fnn_omp_version(void);     /* _OPENMP, or 0 in a build without */
bool fnn_team_is_lost(void);   /* a forked process has one thread */
unsigned fnn_forks(void);      /* how often this process, and those that it comes from, have been forked since the library was loaded */
unsigned long fnn_fork_survivor(void); /* the thread, as fnn_this_thread() says, that went on in this process at the last fork */

/* ---- the barrier ---- */

#define FNN_SEEN 64 /* members whose CPU is noted; larger teams do without for the others */

/* Shared by the members of one team; each counter on a cache line of its own. */
typedef struct fnn_barrier {
    _Alignas(64) atomic_int waiting;
    _Alignas(64) atomic_uint round;
    bool leave; /* the verdict of the last barrier, written by the last to arrive */
    int spins;  /* pauses before a waiting thread yields */
} fnn_barrier;

/* Member `id` notes its CPU. What is noted outlives the team and is seldom written, for the same reason as the barrier. */
void fnn_team_seen(int id);

/* For a member that has just been woken or has waited for long: if it sits on a CPU that another member was last seen on, it
 * moves to one without, if its affinity has any. A system that wakes sleeping threads may put two on one CPU and leave them
 * there for as long as their work comes in short pieces, while the other CPUs are idle. */
void fnn_team_spread(int id, int count);

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
    const int limit = b->spins;
    for (int spins = 0; atomic_load_explicit(&b->round, memory_order_acquire) == round; spins++) {
        if (spins < limit) {
            fnn_pause();
            continue;
        }
        if (spins == limit) fnn_team_spread(id, count);
        fnn_yield();
    }
    return b->leave;
}

/* ---- the work ---- */

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

/* One team at a time, and none in a forked child: returns the threads that the caller may have until it releases the team, at most
 * `threads`, or 1, and then there is nothing to release. Fewer where the system refuses to make those that are missing. */
int fnn_team_acquire(int threads);
void fnn_team_release(void);

typedef void fnn_team_body(void *argument, int id, int count, fnn_barrier *barrier);

/* body(argument, id, count, barrier) on one thread or on `threads`, as `tune` says (NULL: on as many); for more than one the caller
 * has acquired the team. */
void fnn_team_tuned(const fnn_autotune *tune, int threads, fnn_team_body *body, void *argument);

/* The same as a call by itself, of so much work, which takes the team if it is to be had, and from which `tune` learns. */
void fnn_team_call(fnn_autotune *tune, int threads, double work, fnn_team_body *body, void *argument);

#endif

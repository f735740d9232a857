/* Who may open a team. One team runs at a time: a second Python thread that calls meanwhile works alone, so that callers
 * never oversubscribe the machine between them. A process forked without exec has lost its OpenMP threads, whichever
 * library started them, and an OpenMP region there may hang: it works on one thread for good. */
#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "team.h"

#include <pthread.h>

fnn_barrier fnn_team_barrier;

/* 1 + the CPU that each member was last seen on; 0: never seen. */
static _Alignas(64) atomic_int seen[FNN_SEEN];

static atomic_flag team_busy = ATOMIC_FLAG_INIT;
static atomic_bool forked_child;

static void in_child(void) { atomic_store(&forked_child, true); }

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, in_child); }

bool fnn_team_is_lost(void) { return atomic_load_explicit(&forked_child, memory_order_relaxed); }

bool fnn_team_acquire(void)
{
    return !fnn_team_is_lost() && !atomic_flag_test_and_set_explicit(&team_busy, memory_order_acquire);
}

void fnn_team_release(void) { atomic_flag_clear_explicit(&team_busy, memory_order_release); }

int fnn_omp_max_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

int fnn_omp_version(void)
{
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

#ifdef __linux__
static int my_cpu(void) { return sched_getcpu(); }

/* The member's affinity is narrowed to the free CPUs, which moves it at once, and then put back as it was. */
static void move_off(int id, int count)
{
    cpu_set_t mine, free;
    if (sched_getaffinity(0, sizeof mine, &mine) != 0 || CPU_COUNT(&mine) < count) return;
    free = mine;
    for (int i = 0; i < count; i++) {
        const int cpu = atomic_load_explicit(&seen[i], memory_order_relaxed) - 1;
        if (i != id && cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR((size_t)cpu, &free);
    }
    if (CPU_COUNT(&free) > 0 && sched_setaffinity(0, sizeof free, &free) == 0)
        (void)sched_setaffinity(0, sizeof mine, &mine);
}
#else
static int my_cpu(void) { return -1; }
static void move_off(int id, int count) { (void)id, (void)count; }
#endif

void fnn_team_seen(int id)
{
    if (id >= FNN_SEEN) return;
    const int cpu = my_cpu() + 1;
    if (atomic_load_explicit(&seen[id], memory_order_relaxed) != cpu)
        atomic_store_explicit(&seen[id], cpu, memory_order_relaxed);
}

void fnn_team_spread(int id, int count)
{
    const int cpu = my_cpu() + 1;
    if (count > FNN_SEEN || cpu <= 0) return;
    for (int i = 0; i < count; i++)
        if (i != id && atomic_load_explicit(&seen[i], memory_order_relaxed) == cpu) {
            move_off(id, count);
            return;
        }
}

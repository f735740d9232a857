/* The threads of the team: how many there may be, and who may open it. See team.h. */
#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "team.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#define SPINS 2000     /* pauses in a barrier before a yield: some 30 us, more than a barrier between busy threads takes */
#define COUNTED 10e-3 /* seconds for which a count of CPUs holds */

static struct {
    /* goes on from where the last team has left it: one made anew for each would have to be fetched from the cache of the thread that
     * made it */
    fnn_barrier barrier;
    atomic_int configured; /* threads of a team */
    atomic_int available;  /* those that could be made, once the system has refused some */
    atomic_bool exact, refused;
} team = {.configured = 1, .available = FNN_MAX_TEAM};

/* 1 + the CPU that each member was last seen on; 0: never seen. */
static _Alignas(64) atomic_int seen[FNN_SEEN];

static atomic_flag team_busy = ATOMIC_FLAG_INIT;
static atomic_uint forks;
static atomic_ulong survivor;

static void in_child(void)
{
    atomic_store(&survivor, fnn_this_thread());
    atomic_fetch_add(&forks, 1);
}

__attribute__((constructor)) static void watch_forks(void) { fnn_at_fork(in_child); }

unsigned fnn_forks(void) { return atomic_load_explicit(&forks, memory_order_relaxed); }

unsigned long fnn_fork_survivor(void) { return atomic_load_explicit(&survivor, memory_order_relaxed); }

bool fnn_team_is_lost(void) { return fnn_forks() > 0; }

/* ---- OpenMP's limits and places ---- */

#ifdef _OPENMP
int fnn_omp_max_threads(void)
{
    const int most = omp_get_max_threads(), limit = omp_get_thread_limit();
    return most < limit ? most : limit;
}

int fnn_omp_version(void) { return _OPENMP; }
#else
int fnn_omp_max_threads(void) { return 1; }

int fnn_omp_version(void) { return 0; }
#endif

#if defined(_OPENMP) && _OPENMP >= 201511 && defined(__linux__)
#define PLACES 1
#define BIND_PRIMARY 2 /* omp_proc_bind_master, of which gcc 16 warns; by OpenMP 5.1's name, omp_proc_bind_primary, clang 23 does not know it */
/* Places that OMP_PLACES, OMP_PROC_BIND or GOMP_CPU_AFFINITY have made; 0: none. The library has then bound the main thread to one of
 * them, from which the others must not be counted. */
static int places(void) { return omp_get_proc_bind() == omp_proc_bind_false ? 0 : omp_get_num_places(); }

static int cpus_of_place(int place) { return omp_get_place_num_procs(place); }
#endif

/* ---- how many ---- */

static int count_cpus(void)
{
#ifdef PLACES
    const int all = places();
    if (all > 0) {
        if (omp_get_proc_bind() == BIND_PRIMARY) return cpus_of_place(omp_get_place_num() < 0 ? 0 : omp_get_place_num());
        int cpus = 0;
        for (int i = 0; i < all; i++) cpus += cpus_of_place(i);
        return cpus;
    }
#endif
    return fnn_online_cpus();
}

int fnn_cpus(void)
{
    static _Thread_local struct {
        int cpus;
        double until;
    } known;
    const double time = fnn_now();
    if (time >= known.until) {
        known.cpus = count_cpus();
        known.until = time + COUNTED;
    }
    return known.cpus;
}

static atomic_int omp_limit; /* OpenMP's limit when it was first seen: only a lower one is somebody's wish */

void fnn_team_configure(int threads, bool exact)
{
    int none = 0;
    atomic_compare_exchange_strong(&omp_limit, &none, fnn_omp_max_threads());
    atomic_store(&team.configured, threads);
    atomic_store(&team.exact, exact);
    atomic_store(&team.available, FNN_MAX_TEAM);
}

static _Thread_local bool alone;

bool fnn_team_alone(bool from_now)
{
    const bool before = alone;
    alone = from_now;
    return before;
}

int fnn_team_size(void)
{
    if (alone || fnn_team_is_lost()) return 1;
    const int limit = fnn_omp_max_threads(), available = atomic_load_explicit(&team.available, memory_order_relaxed);
    int size = atomic_load_explicit(&team.configured, memory_order_relaxed);
    if (limit < atomic_load_explicit(&omp_limit, memory_order_relaxed) && limit < size) size = limit;
    if (available < size) size = available;
    if (size > 1 && !atomic_load_explicit(&team.exact, memory_order_relaxed)) {
        const int cpus = fnn_cpus();
        if (cpus < size) size = cpus;
    }
    return size;
}

/* Work below this is done by one thread: in the few microseconds that a team needs to begin and to meet, one thread does a good
 * part of it, and on a busy machine a team may wait much longer. From FNN_TEAM_WORK on a team is the first guess. */
#define MIN_WORK 4e5

static _Atomic double forced = -1.0;

double fnn_team_force(double work) { return atomic_exchange(&forced, work); }

int fnn_team_for(double work)
{
    const double least = atomic_load_explicit(&forced, memory_order_relaxed);
    return work >= (least < 0 ? MIN_WORK : least) ? fnn_team_size() : 1;
}

fnn_autotune *fnn_autotune_for(fnn_autotune *tune, double work)
{
    if (!tune || atomic_load_explicit(&forced, memory_order_relaxed) >= 0) return NULL;
    if (tune->cost[0] == 0 && tune->cost[1] == 0) tune->team = work >= FNN_TEAM_WORK;
    return tune;
}

/* ---- the team ---- */

#ifdef _OPENMP
/* How many of `threads` there may be in a team of the calling thread, which has the workers of its last team already. OpenMP ends the
 * process where the system refuses it a thread: by a limit on the user's or the control group's threads, or for want of memory for a
 * stack. So before it makes some, as many are made here, to see whether they are to be had. */
static int grow(int threads)
{
    static _Thread_local int last = 1;
    if (threads > last) {
        const int made = fnn_threads_to_be_had(threads - last);
        if (last + made < threads) {
            threads = last + made;
            atomic_store(&team.available, threads);
            atomic_store(&team.refused, true);
        }
    }
    last = threads; /* a smaller team sends the others home */
    return threads;
}

int fnn_team_acquire(int threads)
{
    if (threads == 1 || fnn_team_is_lost() || atomic_flag_test_and_set_explicit(&team_busy, memory_order_acquire)) return 1;
    threads = grow(threads);
    if (threads == 1) fnn_team_release();
    return threads;
}
#else
int fnn_team_acquire(int threads) { return (void)threads, 1; }
#endif

void fnn_team_release(void) { atomic_flag_clear_explicit(&team_busy, memory_order_release); }

bool fnn_team_refused(int *threads)
{
    *threads = atomic_load_explicit(&team.available, memory_order_relaxed);
    return atomic_load_explicit(&team.refused, memory_order_relaxed) && atomic_exchange(&team.refused, false);
}

void fnn_team_tuned(const fnn_autotune *tune, int threads, fnn_team_body *body, void *argument)
{
#ifdef _OPENMP
    if (threads > 1 && (!tune || tune->team)) {
        team.barrier.spins = threads > fnn_cpus() ? 16 : SPINS; /* on fewer CPUs who waits keeps others from working */
        fnn_team_seen(0);                                       /* before the others look */
#pragma omp parallel num_threads(threads)
        {
            const uint64_t before = fnn_fp_enter();
            const int id = omp_get_thread_num();
            if (id > 0) {
                fnn_team_seen(id);
                fnn_team_spread(id, omp_get_num_threads());
            }
            body(argument, id, omp_get_num_threads(), &team.barrier); /* fewer may have come than were asked for */
            fnn_fp_leave(before);
        }
        return;
    }
#else
    (void)tune, (void)threads;
#endif
    const uint64_t before = fnn_fp_enter();
    body(argument, 0, 1, NULL); /* who is alone never waits */
    fnn_fp_leave(before);
}

void fnn_team_call(fnn_autotune *tune, int threads, double work, fnn_team_body *body, void *argument)
{
    threads = fnn_team_acquire(threads);
    tune = threads > 1 ? fnn_autotune_for(tune, work) : NULL;
    double before = 0.0;
    if (tune) {
        fnn_autotune_piece(tune, 1, work);
        before = fnn_now();
    }
    fnn_team_tuned(tune, threads, body, argument);
    if (tune) fnn_autotune_note(tune, 1, work, fnn_now() - before);
    if (threads > 1) fnn_team_release();
}

/* ---- on which CPUs ---- */

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

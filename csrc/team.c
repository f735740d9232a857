/* Who may open a team. One team runs at a time: a second Python thread that calls meanwhile works alone, so that callers
 * never oversubscribe the machine between them. A process forked without exec has lost its OpenMP threads, whichever
 * library started them, and an OpenMP region there may hang: it works on one thread for good. */
#include "team.h"

#include <pthread.h>

static atomic_flag team_busy = ATOMIC_FLAG_INIT;
static atomic_bool forked_child;

static void in_child(void) { atomic_store(&forked_child, true); }

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, in_child); }

bool fnn_team_acquire(void)
{
    return !atomic_load_explicit(&forked_child, memory_order_relaxed) &&
           !atomic_flag_test_and_set_explicit(&team_busy, memory_order_acquire);
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

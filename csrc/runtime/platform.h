/* What POSIX and Windows call by different names: a clock, a pause, the CPUs, forks, threads to be had. Windows' side has been compiled
 * and read, never run. */
#ifndef FNN_PLATFORM_H
#define FNN_PLATFORM_H

#include <stdbool.h>

#if !defined(_WIN32)
#include <sched.h>
#include <time.h>

/* Seconds of a clock that only goes forward. */
static inline double fnn_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Lets another thread have the CPU, if one wants it. */
static inline void fnn_yield(void) { sched_yield(); }
#else /* windows.h makes macros of common words: it stays in platform.c */
double fnn_now(void);
void fnn_yield(void);
#endif

void fnn_nap(void);                    /* lets others work for 0.2 ms, on Windows for 1 ms or more */
int fnn_online_cpus(void);             /* CPUs that the calling thread may use, or else those that there are; at least 1 */
void fnn_at_fork(void (*child)(void)); /* calls it in every child that this process is forked into; nothing on Windows, which has no forks */
unsigned long fnn_this_thread(void);   /* the calling thread's name, as Python's threading.get_ident() says it */
int fnn_threads_to_be_had(int more);   /* how many of so many more threads the system would make now, at once */

#endif

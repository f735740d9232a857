/* See platform.h. */
#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "platform.h"

#include <stdlib.h>

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

void fnn_nap(void)
{
    const struct timespec time = {.tv_nsec = 200000};
    nanosleep(&time, NULL);
}

int fnn_online_cpus(void)
{
#ifdef __linux__
    cpu_set_t mine;
    if (sched_getaffinity(0, sizeof mine, &mine) == 0) return CPU_COUNT(&mine);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (int)online;
}

void fnn_at_fork(void (*child)(void)) { pthread_atfork(NULL, NULL, child); }

unsigned long fnn_this_thread(void) { return (unsigned long)pthread_self(); }

static void *wait_for_gate(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

int fnn_threads_to_be_had(int more)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = malloc((size_t)more * sizeof *threads);
    if (!threads) return 0;
    sigset_t all, before;
    sigfillset(&all); /* signals are for the threads that wait for them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&gate); /* none ends before all are there */
    int made = 0;
    while (made < more && pthread_create(&threads[made], NULL, wait_for_gate, &gate) == 0) made++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < made; i++) pthread_join(threads[i], NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(threads);
    return made;
}
#else
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

double fnn_now(void)
{
    LARGE_INTEGER ticks, each;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&each);
    return (double)ticks.QuadPart / (double)each.QuadPart;
}

void fnn_yield(void) { SwitchToThread(); }

void fnn_nap(void) { Sleep(1); }

int fnn_online_cpus(void)
{
    DWORD_PTR mine, all;
    int count = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &all))
        for (; mine; mine &= mine - 1) count++;
    return count ? count : (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS); /* no mask: the process is in several groups */
}

void fnn_at_fork(void (*child)(void)) { (void)child; }

unsigned long fnn_this_thread(void) { return GetCurrentThreadId(); }

static DWORD WINAPI wait_for_gate(void *gate)
{
    WaitForSingleObject(gate, INFINITE);
    return 0;
}

int fnn_threads_to_be_had(int more)
{
    HANDLE gate = CreateEventA(NULL, TRUE, FALSE, NULL), *threads = malloc((size_t)more * sizeof *threads);
    int made = 0;
    if (gate && threads)
        while (made < more && (threads[made] = CreateThread(NULL, 0, wait_for_gate, gate, 0, NULL)) != NULL) made++;
    if (gate) SetEvent(gate);
    for (int i = 0; i < made; i++) {
        WaitForSingleObject(threads[i], INFINITE);
        CloseHandle(threads[i]);
    }
    if (gate) CloseHandle(gate);
    free(threads);
    return made;
}
#endif

/* One thread or the team for a plan's steps: whichever is the faster here and now, by measuring both.
 *
 * Which one wins depends on more than the work: whether the threads' CPUs share a cache or a core, whether another process
 * keeps one of them busy, whether the system must first wake the team. Results do not depend on it, so a plan may change
 * its mind between two steps. It stays with one way, timing it, and now and then tries a few steps the other way, so
 * seldom that a trial that disappoints costs half a percent of the time. Not for more than one caller at a time. */
#ifndef FNN_AUTOTUNE_H
#define FNN_AUTOTUNE_H

#include <stdbool.h>
#include <stddef.h>

#define FNN_AUTOTUNE_SAMPLE 20e-3 /* seconds of steps that make one sample, so that a hiccup of the system is shared by many */
#define FNN_AUTOTUNE_TRIAL 1e-3   /* a trial goes on for this many seconds, ... */
#define FNN_AUTOTUNE_STEPS 8      /* ... but not for more steps than these, after one that wakes the team */
#define FNN_AUTOTUNE_INTERVAL 200.0 /* a trial's extra time is at most the 200th part of all ... */
#define FNN_AUTOTUNE_JOIN 0.75    /* a team is worth its CPUs, and the risk of disturbance, from this share of the time alone, ... */
#define FNN_AUTOTUNE_LEAVE 0.85   /* ... and no longer at this one */
#define FNN_AUTOTUNE_MAX_BACKOFF 16.0 /* ... and up to 16 times less while trials only confirm what was known */

typedef struct fnn_autotune {
    double cost[2];       /* seconds a row, alone [0] and by the team [1]; 0: never measured */
    double seconds, rows; /* the sample that is being taken */
    double wait;          /* seconds until the next trial; set from the first sample on */
    double backoff;       /* grows from 1 with each trial that confirms */
    bool team;            /* how the next steps are done */
    bool fresh;           /* the next piece is the first of a trial */
    size_t trial;         /* steps left of a trial; 0: none is on */
} fnn_autotune;

static inline size_t fnn_autotune_trial_steps(double step)
{
    const double steps = FNN_AUTOTUNE_TRIAL / step;
    return steps >= FNN_AUTOTUNE_STEPS ? FNN_AUTOTUNE_STEPS : steps > 1 ? (size_t)steps : 1;
}

/* Sets the time to the next trial after one of `rows` rows, or before the first: what it costs beyond the way taken. */
static inline void fnn_autotune_set_wait(fnn_autotune *p, double rows)
{
    const double mine = p->cost[p->team], other = p->cost[!p->team];
    const double guess = p->team ? 2 * mine : 1.25 * mine; /* not measured yet */
    double extra = (other > 0 ? other : guess) - mine;
    if (extra < 0.25 * mine) extra = 0.25 * mine;
    p->wait = FNN_AUTOTUNE_INTERVAL * p->backoff * rows * extra;
}

/* Whether what has been measured speaks for the other way. */
static inline bool fnn_autotune_should_switch(const fnn_autotune *p)
{
    const double alone = p->cost[0], team = p->cost[1];
    return alone > 0 && team > 0 && (p->team ? team > FNN_AUTOTUNE_LEAVE * alone : team < FNN_AUTOTUNE_JOIN * alone);
}

/* How many of the next `steps` steps of `rows` rows to do in one piece; p->team says how. */
static inline size_t fnn_autotune_piece(fnn_autotune *p, size_t steps, double rows)
{
    if (!p->trial && p->cost[p->team] > 0 && p->wait <= 0) {
        p->trial = fnn_autotune_trial_steps(p->cost[p->team] * rows);
        p->fresh = p->trial > 1;
        p->team = !p->team;
        p->seconds = p->rows = 0;
    }
    if (p->fresh) return 1;
    return p->trial && p->trial < steps ? p->trial : steps;
}

static inline void fnn_autotune_end_trial(fnn_autotune *p)
{
    p->cost[p->team] = p->seconds / p->rows;
    p->team = !p->team; /* back, unless the trial has shown better */
    if (fnn_autotune_should_switch(p)) {
        p->team = !p->team;
        p->backoff = 1;
    } else if (p->backoff < FNN_AUTOTUNE_MAX_BACKOFF) {
        p->backoff *= 2;
    }
    fnn_autotune_set_wait(p, p->rows);
    p->seconds = p->rows = 0;
}

/* A piece of `steps` steps, `rows` rows in all, has taken `seconds`. */
static inline void fnn_autotune_note(fnn_autotune *p, size_t steps, double rows, double seconds)
{
    if (p->fresh) {
        p->fresh = false;
        return;
    }
    p->seconds += seconds;
    p->rows += rows;
    if (p->trial) {
        p->trial -= steps < p->trial ? steps : p->trial;
        if (!p->trial) fnn_autotune_end_trial(p);
        return;
    }
    p->wait -= seconds;
    const double cost = p->cost[p->team];
    if (p->seconds < FNN_AUTOTUNE_SAMPLE && cost > 0) return;
    const double sample = p->seconds / p->rows;
    p->cost[p->team] = cost > 0 ? 0.5 * (cost + sample) : sample;
    if (!(cost > 0)) {
        p->backoff = 1;
        fnn_autotune_set_wait(p, rows / (double)steps * FNN_AUTOTUNE_STEPS);
    } else if (fnn_autotune_should_switch(p)) {
        p->wait = 0; /* by what the other way took when last seen: see what it takes now */
    }
    p->seconds = p->rows = 0;
}

#endif

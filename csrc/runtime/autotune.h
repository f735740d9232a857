/* One thread or the team for a kind of work that comes again and again: whichever is the faster here and now, by measuring both.
 *
 * Which one wins depends on more than the work: whether the threads' CPUs share a cache or a core, whether another process
 * keeps one of them busy, whether the host gives each CPU a core's time, whether the system must first wake the team. Results do
 * not depend on it, so a plan may change its mind between two steps. It stays with one way, timing it in samples, and every few
 * hundredths of a second tries the other way for a moment: so seldom that trials that disappoint cost one or two percent of the
 * time where it works alone, and half a percent where a team does. A team that suddenly takes longer is doubted at once. Of the last
 * two samples of a way the better counts: a hiccup of the system is no reason, unless a team has them all the time. Not for more than
 * one caller at a time.
 *
 * A unit is what costs are compared by: a row of a batch, a floating-point operation. */
#ifndef FNN_AUTOTUNE_H
#define FNN_AUTOTUNE_H

#include <stdbool.h>
#include <stddef.h>

#define FNN_AUTOTUNE_SAMPLE 4e-3     /* seconds of steps that make one sample */
#define FNN_AUTOTUNE_TRIAL 0.5e-3    /* a trial's samples take so many seconds, ... */
#define FNN_AUTOTUNE_STEPS 4         /* ... but not more steps than these */
#define FNN_AUTOTUNE_WARM 2.5e-3     /* CPUs that have slept become faster for so long: a trial of a team may wait for it, ... */
#define FNN_AUTOTUNE_FAR 1.4         /* ... unless it takes so many times as long as one thread */
#define FNN_AUTOTUNE_WAKE 2e-3       /* a trial's first step, which wakes the team, counts only if it took longer than this */
#define FNN_AUTOTUNE_ALONE 75.0      /* from trial to trial of a team: its extra time so often, ... */
#define FNN_AUTOTUNE_TEAM 200.0      /* ... and of one thread, ... */
#define FNN_AUTOTUNE_FIRST 20.0      /* ... and before the very first, by a guess, ... */
#define FNN_AUTOTUNE_MIN_ALONE 40e-3 /* ... but at least so long, ... */
#define FNN_AUTOTUNE_MIN_TEAM 0.1
#define FNN_AUTOTUNE_MAX 0.8         /* ... and at most so long, unless a trial takes more than a tenth of that */
#define FNN_AUTOTUNE_JOIN 0.88       /* a team is worth its CPUs from this share of the time alone, ... */
#define FNN_AUTOTUNE_LEAVE 0.92      /* ... and no longer at this one */
#define FNN_AUTOTUNE_JUMP 1.25       /* so many times the usual is a sudden change */
#define FNN_AUTOTUNE_CALM 20e-3      /* seconds after a trial in which no sudden change asks for another */
#define FNN_AUTOTUNE_FRESH 0.1       /* what one thread took so long ago is known */
#define FNN_AUTOTUNE_MEAN 50e-3      /* seconds of a team's steps that its mean is of: waits that come again and again count there */
#define FNN_AUTOTUNE_STAY 0.2        /* a team that is left sooner was a mistake: a neighbour let go of a CPU for a moment, ... */
#define FNN_AUTOTUNE_BACKOFF 16.0    /* ... and with each in a row the wait for the next trial doubles, up to so many times MIN_ALONE */

typedef struct fnn_autotune {
    double cost[2];        /* seconds a unit, alone [0] and by the team [1]; 0: never measured */
    double last[2];        /* the last sample of each */
    double seconds, units; /* the sample that is being taken */
    double tried, extra;   /* seconds of the trial that is on, and those beyond what the other way takes */
    double wait;           /* seconds until the next trial; set from the first sample on */
    double since;          /* seconds since the last one */
    double mean;           /* of the team's steps lately, hiccups and all, or of its last trial */
    double stayed;         /* seconds by the team since it was chosen, trials apart */
    double backoff;        /* by how much the wait for a trial of the team is drawn out; 0: the team is as chosen at the start */
    bool team;             /* how the next steps are done */
    bool fresh;            /* the next piece is the first of a trial */
    size_t trial;          /* steps left of a trial's sample; 0: none is on */
} fnn_autotune;

/* Steps of `step` seconds that take `seconds`. */
static inline size_t fnn_autotune_steps(double seconds, double step, size_t most)
{
    const double steps = seconds / step;
    return steps >= (double)most ? most : steps > 1 ? (size_t)steps : 1;
}

/* Whether what has been measured speaks for the other way. */
static inline bool fnn_autotune_should_switch(const fnn_autotune *p)
{
    const double alone = p->cost[0], team = p->mean > p->cost[1] ? p->mean : p->cost[1];
    return alone > 0 && team > 0 && (p->team ? team > FNN_AUTOTUNE_LEAVE * alone : team < FNN_AUTOTUNE_JOIN * alone);
}

static inline void fnn_autotune_take_sample(fnn_autotune *p)
{
    const double sample = p->seconds / p->units, last = p->last[p->team];
    p->cost[p->team] = last > 0 && last < sample ? last : sample;
    p->last[p->team] = sample;
    if (p->team) { /* every unit counts the same, so a long wait counts whole; begun anew after steps alone */
        const double share = p->units * p->cost[1] / FNN_AUTOTUNE_MEAN;
        p->mean += (sample - p->mean) * (p->stayed > 0 && share < 1 ? share : 1);
    }
    p->seconds = p->units = 0;
}

/* How many of the next `steps` steps of `units` units to do in one piece; p->team says how. */
static inline size_t fnn_autotune_piece(fnn_autotune *p, size_t steps, double units)
{
    const double step = p->cost[p->team] * units;
    if (!p->trial && step > 0 && p->wait <= 0) {
        p->trial = fnn_autotune_steps(FNN_AUTOTUNE_TRIAL, step, FNN_AUTOTUNE_STEPS);
        p->fresh = p->trial > 1;
        p->team = !p->team;
        p->seconds = p->units = p->tried = p->extra = 0;
    }
    if (p->fresh || !(step > 0)) return 1;
    if (p->trial) return p->trial < steps ? p->trial : steps;
    return fnn_autotune_steps(0.5 * FNN_AUTOTUNE_SAMPLE, step, steps); /* a sudden change shows early in the second half */
}

/* From the team to one thread: when to look at the team again, at the earliest. */
static inline double fnn_autotune_leave(fnn_autotune *p)
{
    if (p->stayed > FNN_AUTOTUNE_STAY || p->backoff < 1) p->backoff = 1;
    else if (p->backoff < FNN_AUTOTUNE_BACKOFF) p->backoff *= 2;
    p->team = false;
    p->stayed = 0;
    return p->backoff * FNN_AUTOTUNE_MIN_ALONE;
}

static inline void fnn_autotune_end_trial(fnn_autotune *p)
{
    double min_alone = FNN_AUTOTUNE_MIN_ALONE;
    fnn_autotune_take_sample(p);
    p->team = !p->team; /* back, unless the trial has shown better */
    if (fnn_autotune_should_switch(p)) {
        if (p->team) min_alone = fnn_autotune_leave(p);
        else p->team = true;
    }
    const double floor = 0.25 * p->tried, extra = p->extra > floor ? p->extra : floor;
    const double wait = extra * (p->team ? FNN_AUTOTUNE_TEAM : FNN_AUTOTUNE_ALONE);
    const double min = p->team ? FNN_AUTOTUNE_MIN_TEAM : min_alone;
    const double max = FNN_AUTOTUNE_MAX > 10 * extra ? FNN_AUTOTUNE_MAX : 10 * extra;
    p->wait = wait < min ? min : wait < max ? wait : max;
    p->since = 0;
}

/* A piece of a trial. */
static inline void fnn_autotune_note_trial(fnn_autotune *p, size_t steps, double units, double seconds)
{
    const double other = p->cost[!p->team] * units;
    p->tried += seconds;
    p->extra += seconds - other;
    if (p->fresh) {
        p->fresh = false;
        if (seconds < FNN_AUTOTUNE_WAKE || seconds < FNN_AUTOTUNE_FAR * other) return;
        p->trial = steps; /* no waking takes so long: enough has been seen */
    }
    p->seconds += seconds;
    p->units += units;
    p->trial -= steps < p->trial ? steps : p->trial;
    if (p->trial) return;
    const double share = p->seconds / (p->cost[!p->team] * p->units);
    if (p->team && share > FNN_AUTOTUNE_JOIN && share < FNN_AUTOTUNE_FAR && p->tried < FNN_AUTOTUNE_WARM) { /* it may become better */
        p->trial = fnn_autotune_steps(FNN_AUTOTUNE_TRIAL, seconds / (double)steps, FNN_AUTOTUNE_STEPS);
        p->seconds = p->units = 0;
    } else {
        fnn_autotune_end_trial(p);
    }
}

/* A piece of `steps` steps, `units` units in all, has taken `seconds`. */
static inline void fnn_autotune_note(fnn_autotune *p, size_t steps, double units, double seconds)
{
    if (p->trial) {
        fnn_autotune_note_trial(p, steps, units, seconds);
        return;
    }
    p->seconds += seconds;
    p->units += units;
    p->wait -= seconds;
    p->since += seconds;
    p->stayed = p->team ? p->stayed + seconds : 0;
    const double usual = p->cost[p->team];
    if (usual > 0 && p->seconds < FNN_AUTOTUNE_SAMPLE) return;
    fnn_autotune_take_sample(p);
    if (!(usual > 0)) { /* the first of all: a trial may cost as much again, or a quarter more */
        const double step = seconds / (double)steps;
        const size_t trial = fnn_autotune_steps(FNN_AUTOTUNE_TRIAL, step, FNN_AUTOTUNE_STEPS);
        p->wait = FNN_AUTOTUNE_FIRST * (double)(trial + (trial > 1)) * step * (p->team ? 1.0 : 0.25);
    } else if (fnn_autotune_should_switch(p)) {
        if (p->team && p->since < FNN_AUTOTUNE_FRESH) {
            p->wait = fnn_autotune_leave(p);
            p->since = 0;
        } else {
            p->wait = 0; /* by what the other way took when last seen: see what it takes now */
        }
    } else if (p->team && p->last[1] > FNN_AUTOTUNE_JUMP * usual && p->since > FNN_AUTOTUNE_CALM) {
        p->wait = 0;
    }
}

#endif

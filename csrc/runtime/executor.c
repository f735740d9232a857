/* The executor: runs a plan's list of operations, for many batches, in one parallel region.
 *
 * There are barriers only where the plan says so. Between two of them each thread does its part of every operation: its rows
 * of the batch, or its range or chunk of a matrix. Through some operations, those with images of networks that only predict, it
 * takes a few of its rows before the next few, so that what one writes and the next reads stays in its caches. Nothing is
 * allocated here and nothing can fail but a batch: a bad label or index is seen by the whole team at the next barrier, before any
 * update, and all leave together. */
#include "../ops/step.h"

#include <string.h>

/* The update's numbers for a step: before the team starts, and between two steps by its first thread. The others do not read them
 * there, since they have met after the step before, and a step that comes after another has a barrier before its updates. */
static void prepare_update(fnn_run *run, size_t step)
{
    if (!run->update) return;
    fnn_update *o = run->update;
    o->skip = false;
    fnn_update_prepare(o, run->groups, run->settings + (step - run->steps_skipped) * (o->n_groups + o->n_scheduled));
}

static void run_op(fnn_step *s, char *scratch, const fnn_op *op, fnn_split split)
{
    s->scratch = scratch ? scratch + op->scratch_at : NULL;
    fnn_op_kinds[op->kind].run(s, op, split);
}

/* The operations [op, op + op->depth), a few rows at a time. A thread that has no rows does them too, since one may have a buffer point to
 * the user's array. */
static void run_depth_first(fnn_step *s, char *scratch, const fnn_op *op, fnn_split split)
{
    const fnn_run *run = s->run;
    const size_t rows = split.end - split.begin, parts = rows > op->few ? (rows + op->few - 1) / op->few : 1;
    for (size_t part = 0; part < parts; part++) {
        fnn_split few = split;
        few.begin += rows * part / parts;
        few.end = split.begin + rows * (part + 1) / parts;
        for (size_t b = 0; b < run->n_buffers; b++)
            if (run->near[b] != FNN_NOT_NEAR) /* operations count rows from the first of the batch on */
                s->buffers[b].data = (void *)((uintptr_t)scratch + run->near[b] - few.begin * s->buffers[b].ld * s->kernels->item);
        for (size_t i = 0; i < op->depth; i++) run_op(s, scratch, op + i, few);
        s->again = true;
    }
    s->again = false;
}

static void body(void *argument, int id, int count, fnn_barrier *barrier)
{
    fnn_run *run = argument;
    for (size_t i = 64; i < sizeof *run; i += 64) __builtin_prefetch((const char *)run + i); /* the caller has written to it */
    fnn_step s = {.run = run, .kernels = fnn_active_kernels(run->dtype), .buffers = run->buffers + (size_t)(id + 1) * run->n_buffers,
                  .barrier = barrier};
    char *scratch = run->scratch_bytes ? run->scratch + (size_t)id * run->scratch_bytes : NULL;
    memcpy(s.buffers, run->buffers, run->n_buffers * sizeof(fnn_buffer));

    for (s.number = run->from; s.number < run->end; s.number++) {
        s.begin = s.number * run->batch;
        s.rows = run->rows - s.begin < run->batch ? run->rows - s.begin : run->batch;
        s.counted = s.rows;
        if (run->ignores) s.counted -= fnn_ignored_rows(&s);
        const fnn_split split = fnn_split_of(id, count, s.rows);
        if (run->output >= 0) s.buffers[run->output] = (fnn_buffer){fnn_at(s.kernels, run->out, s.begin * run->ldout), run->ldout};
        const double loss_sum = id == count - 1 ? run->loss_sum : 0.0; /* of the thread that reduces the losses: what the sums */
        const int64_t correct = id == count - 1 ? run->correct : 0;    /* go back to if the step is skipped */
        if (id == 0 && s.number > run->from) prepare_update(run, s.number);
        bool written = false; /* anything since the last barrier? After nothing but a gather in place none is needed */
        for (size_t i = run->first_op; i < run->last_op; i++) {
            const fnn_op *op = &run->ops[i];
            if (op->depth) {
                run_depth_first(&s, scratch, op, split);
                i += op->depth - 1;
                op = &run->ops[i];
                written = true;
            } else {
                run_op(&s, scratch, op, split);
                written |= op->kind != FNN_OP_gather || !fnn_gather_in_place(&s, op, &run->x);
            }
            if (!op->barrier || !written) continue;
            if (fnn_barrier_wait(barrier, id, count, &run->status.leave)) return;
            written = false;
        }
        if (id == count - 1 && run->update && run->update->skip) { /* the next step, which resets that, has not begun */
            run->loss_sum = loss_sum;
            run->correct = correct;
            run->rows_left_out += s.rows;
        } else if (id == count - 1) {
            run->rows_left_out += s.rows - s.counted;
        }
        if (id == 0) {
            run->steps_done = s.number + 1;
            if (run->update && run->update->skip)
                run->steps_skipped++;
            else if (run->update && run->commits)
                for (size_t g = 0; g < run->update->n_groups; g++)
                    fnn_update_commit(&run->groups[g], &run->update->scalars[g]);
            if (run->seconds > 0 && fnn_now() - run->begun >= run->seconds)
                atomic_store_explicit(&run->status.leave, true, memory_order_relaxed);
        }
        if (s.number + 1 < run->end && fnn_barrier_wait(barrier, id, count, &run->status.leave)) return;
    }
}

static double rows_of(const fnn_run *run, size_t from, size_t end)
{
    const size_t last = end * run->batch < run->rows ? end * run->batch : run->rows;
    return (double)(last - from * run->batch);
}

void fnn_plan_run(fnn_run *run)
{
    run->steps_done = run->steps_skipped = run->rows_left_out = 0;
    atomic_store(&run->status.first, 0);
    atomic_store(&run->status.leave, false);
    run->from = 0;
    const int threads = fnn_team_acquire(run->threads);
    fnn_autotune *tune = threads > 1 ? fnn_autotune_for(run->autotune, run->work) : NULL;
    const size_t rows = run->rows < run->batch ? run->rows : run->batch;
    double before = run->begun = tune || run->seconds > 0 ? fnn_now() : 0.0;
    while (run->from < run->steps && !atomic_load_explicit(&run->status.leave, memory_order_relaxed)) {
        run->end = tune ? run->from + fnn_autotune_piece(tune, run->steps - run->from, (double)rows) : run->steps;
        prepare_update(run, run->from);
        fnn_team_tuned(tune, threads, body, run);
        const size_t done = run->steps_done - run->from;
        if (tune && done > 0) {
            const double after = fnn_now();
            fnn_autotune_note(tune, done, rows_of(run, run->from, run->steps_done), after - before);
            before = after;
        }
        run->from = run->end;
    }
    if (threads > 1) fnn_team_release();
}

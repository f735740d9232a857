"""csrc/runtime/autotune.h: one thread or the team, by made-up measurements."""

import numpy as np
import pytest

from fastnn import _native

ROWS = 100


def drive(autotune, cost, seconds, call=1):
    """`seconds` of calls of `call` steps; cost(team, now) is a step's time. Returns (steps alone, steps by the team, time)."""
    done, now = [0, 0], 0.0
    while now < seconds:
        left = call
        while left:
            n, team = autotune.piece(left, ROWS)
            assert 1 <= n <= left
            spent = 0.0
            for _ in range(n):
                spent += cost(team, now + spent)
            autotune.note(n, n * ROWS, spent)
            now += spent
            done[team] += n
            left -= n
    return *done, now


@pytest.mark.parametrize("call", [1, 7, 500])
@pytest.mark.parametrize("alone, team", [(157e-6, 90e-6), (90e-6, 157e-6), (8e-6, 5e-6), (8e-6, 400e-6), (17e-3, 9e-3)])
@pytest.mark.parametrize("start", [False, True])
def test_settles_on_the_faster_way(start, alone, team, call):
    autotune = _native.Autotune(start)
    cost = lambda by_team, now: team if by_team else alone
    drive(autotune, cost, 3000 * max(alone, team), call)
    a, b, seconds = drive(autotune, cost, 3000 * max(alone, team), call)
    best = min(alone, team)
    assert seconds <= 1.02 * best * (a + b)


def test_a_team_that_gains_little_is_left_alone():
    for start in (False, True):
        autotune = _native.Autotune(start)
        drive(autotune, lambda team, now: 7.5e-6 if team else 8e-6, 1)
        a, b, _ = drive(autotune, lambda team, now: 7.5e-6 if team else 8e-6, 0.5)
        assert a > 0.9 * (a + b)


def test_long_steps_are_not_tried_before_many_have_been_timed():
    autotune = _native.Autotune(True)
    for _ in range(20):
        n, team = autotune.piece(1, ROWS)
        assert (n, team) == (1, True)
        autotune.note(1, ROWS, 0.4)


@pytest.mark.parametrize("call", [1, 500])
def test_changes_its_mind_when_the_machine_does(call):
    autotune = _native.Autotune(True)
    drive(autotune, lambda team, now: 90e-6 if team else 157e-6, 2, call)
    a, b, _ = drive(autotune, lambda team, now: 490e-6 if team else 157e-6, 2, call)
    assert a > 0.9 * (a + b)
    drive(autotune, lambda team, now: 90e-6 if team else 157e-6, 8, call)
    a, b, _ = drive(autotune, lambda team, now: 90e-6 if team else 157e-6, 2, call)
    assert b > 0.9 * (a + b)


def test_the_first_step_of_a_trial_wakes_the_team_and_does_not_count():
    autotune, last = _native.Autotune(False), [False]

    def cost(team, now):
        woken, last[0] = team and not last[0], team
        return (300e-6 if woken else 90e-6) if team else 157e-6

    drive(autotune, cost, 3)
    a, b, _ = drive(autotune, cost, 1)
    assert b > 0.95 * (a + b)


def test_a_hiccup_changes_nothing():
    autotune, count = _native.Autotune(True), [0]

    def cost(team, now):
        count[0] += 1
        return (90e-6 if team else 157e-6) + (4e-3 if count[0] % 500 == 0 else 0)

    drive(autotune, cost, 1)
    a, b, _ = drive(autotune, cost, 5)
    assert b > 0.95 * (a + b)


@pytest.mark.parametrize("call", [1, 500])
@pytest.mark.parametrize("period", [0.3, 1.0])
def test_a_host_that_takes_a_core_away_and_gives_it_back(call, period):
    """With both cores the team is the faster, with one core's time for both CPUs one thread is: the better of both is had soon after
    each change, and in any tenth of a second."""
    autotune, steps = _native.Autotune(True), []

    def best(now):
        return 184e-6 if int(now / period) % 2 == 0 else 266e-6

    def cost(team, now):
        taken = 266e-6 if not team else 184e-6 if best(now) == 184e-6 else 545e-6
        steps.append((now, taken, best(now)))
        return taken

    drive(autotune, cost, 6, call)
    ends, ideal = np.cumsum([t for _, t, _ in steps]), np.cumsum([b for _, _, b in steps])
    later = np.searchsorted(ends, ends + 0.1)
    inside = (ends > 0.1) & (later < len(ends))
    at, end = np.flatnonzero(inside), later[inside]
    assert ((ends[end] - ends[at]) / (ideal[end] - ideal[at])).max() < 1.2
    assert ends[-1] < 1.04 * ideal[-1]


@pytest.mark.parametrize("call", [1, 10, 500])
@pytest.mark.parametrize("mine, its", [(3e-3, 3e-3), (4e-3, 4e-3), (8e-3, 8e-3), (24e-3, 24e-3), (4e-3, 12e-3), (12e-3, 4e-3)])
def test_a_neighbour_that_takes_turns_with_a_worker(mine, its, call):
    """In a worker's turns the team is the faster, in the neighbour's all wait for the worker: what counts is what it takes in all."""
    autotune = _native.Autotune(True)

    def cost(team, now):
        turn = now % (mine + its)
        return 266e-6 if not team else 184e-6 + (mine + its - turn if turn > mine else 0)

    drive(autotune, cost, 1, call)
    a, b, seconds = drive(autotune, lambda team, now: cost(team, now + 1), 4, call)
    assert seconds < 1.06 * 266e-6 * (a + b)


def test_back_to_the_team_within_a_second_whatever_a_trial_costs():
    """Beside neighbours that keep the CPUs busy a step of a team may take a hundred times as long."""
    autotune, last = _native.Autotune(True), [0.0]

    def cost(team, now):
        last[0] = now if team else last[0]
        return 266e-6 if not team else 30e-3 if now < 3 else 150e-6

    drive(autotune, cost, 0.5)
    a, b, seconds = drive(autotune, lambda team, now: cost(team, now + 0.5), 2.5)
    assert seconds < 1.1 * 266e-6 * (a + b)
    drive(autotune, lambda team, now: cost(team, 3), 1.0)
    a, b, _ = drive(autotune, lambda team, now: cost(team, 3), 0.5)
    assert b > 0.95 * (a + b)

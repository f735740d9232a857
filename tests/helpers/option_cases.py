"""Optimizers of several arrays, for the tests of their options."""


def change(*path, to):
    def apply(state):
        *way, last = path
        for key in way:
            state = state[key]
        if to is KeyError:
            del state[last]
        else:
            state[last] = to

    return apply

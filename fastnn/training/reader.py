"""Batches of an iterable, drawn in a thread of their own, one ahead of the training."""

import threading


class Ended(Exception):
    """The iterable has no more."""


class Reader:
    """Draws items one ahead: while one is worked on the next is made, and no more.

    Parameters
    ----------
    items : iterator
    prepare : function
        Of an item and its number from 0; it is called in the thread, too.
    skip : int
        Items to draw and drop first.
    limit : int or None
        Items to draw after those.
    first : list
        Items that were drawn before, to come first.
    """

    def __init__(self, items, prepare, skip=0, limit=None, first=()):
        self._items, self._prepare, self._skip, self._limit, self._first = items, prepare, skip, limit, list(first)
        self._turn = threading.Condition()
        self._slot = self._error = None  # (item, prepared); what came instead of one
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="fastnn-reader", daemon=True)
        self._thread.start()

    def _draw(self):
        return self._first.pop(0) if self._first else next(self._items)

    def _work(self):
        number = 0
        try:
            while self._limit is None or number < self._skip + self._limit:
                with self._turn:
                    while self._slot is not None and not self._closed:
                        self._turn.wait()
                    if self._closed:
                        return
                item = self._draw()
                if number >= self._skip:
                    self._hand((item, self._prepare(item, number)))
                del item  # or it would be kept while the next is made
                number += 1
            raise Ended
        except StopIteration:
            self._end(Ended())
        except BaseException as error:  # whatever the user's code raises, the training raises
            self._end(error)

    def _hand(self, found):
        with self._turn:
            self._slot = found
            self._turn.notify_all()

    def _end(self, error):
        with self._turn:
            self._error = error
            self._turn.notify_all()

    def wait(self):
        """Whether there is another item, once that is known; what the iterable raises is raised here."""
        with self._turn:
            while self._slot is None and self._error is None:
                self._turn.wait(0.1)  # a signal that another thread was given, such as Ctrl-C, does not end it
            if self._slot is not None:
                return True
            if isinstance(self._error, Ended):
                return False
            raise self._error

    def get(self):
        """The next item as it came, and prepared; there must be one."""
        with self._turn:
            found = self._slot
            self._slot = None
            self._turn.notify_all()
        return found

    def close(self):
        """No more. Returns the items that were drawn and not taken."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        self._thread.join(1.0)  # one that the user's code holds up must not hold up the program
        with self._turn:
            return [*([] if self._slot is None else [self._slot[0]]), *self._first]

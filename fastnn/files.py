"""Writing files whole or not at all."""

import contextlib
import os


@contextlib.contextmanager
def replacing(name):
    """A binary file to write, which becomes `name` when the block ends well and vanishes when it does not.

    What is no regular file (a device, a pipe) cannot be replaced: it is written to as it is.
    """
    target = os.path.realpath(name)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:
            yield file
        return
    temporary = os.path.join(os.path.dirname(target), f".fastnn-{os.urandom(8).hex()}.tmp")
    file = open(temporary, "xb")  # not tempfile: its files are private, these get the permissions of any new file
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise

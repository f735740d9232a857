"""Writing files whole or not at all."""

import contextlib
import os
import secrets


@contextlib.contextmanager
def replacing(name):
    """A binary file to write, which becomes `name` when the block ends well and vanishes when it does not."""
    target = os.path.realpath(name)
    temporary = os.path.join(os.path.dirname(target), f".fastnn-{secrets.token_hex(8)}.tmp")
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

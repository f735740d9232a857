"""Writing files whole or not at all."""

import contextlib
import os
import stat

try:
    import fcntl
except ImportError:  # not on every system
    fcntl = None


def _locked(path, flags, mode=0o600):
    """A descriptor of the file at `path`, which no other process has locked; OSError where there is none. It is locked until it is
    closed, or the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held, there = os.fstat(descriptor), os.stat(path, follow_symlinks=False)
        if not (os.path.samestat(held, there) and stat.S_ISREG(held.st_mode) and held.st_uid == os.geteuid()):
            raise OSError(f"{path}: another file by now")
        return descriptor
    except BaseException:
        os.close(descriptor)
        raise


def _beside(folder, name, mode):
    """(new file to write, its path) in the folder of the file that it becomes.

    Its name is a function of `name`, so that of the savings of a file that are killed there is never more than one left: the next
    one removes it. Where it is another's, or another process is writing it, a name by chance.
    """
    if fcntl is not None:
        import hashlib  # OpenSSL takes milliseconds to load

        path = os.path.join(folder, f".fastnn-{hashlib.sha1(os.fsencode(name)).hexdigest()[:16]}.tmp")
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                left = _locked(path, 0)
                try:
                    os.unlink(path)
                finally:
                    os.close(left)
            return os.fdopen(_locked(path, os.O_CREAT | os.O_EXCL, mode), "wb"), path
    path = os.path.join(folder, f".fastnn-{os.urandom(8).hex()}.tmp")
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)), path


@contextlib.contextmanager
def replacing(name, durable=True):
    """A binary file to write, which becomes `name` when the block ends well and vanishes when it does not.

    Whatever happens to the process, there is the file before or the new one, whole. With `durable` that holds for a power cut, too:
    the disk has the new file before it takes the name.

    It has the permissions of the file that it replaces, or those of any new file. What is no regular file (a device, a pipe)
    cannot be replaced: it is written to as it is.
    """
    target = os.path.realpath(name)
    before = os.stat(target) if os.path.exists(target) else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        with open(target, "wb") as file:
            yield file
        return
    file, temporary = _beside(*os.path.split(target), 0o666 if before is None else 0o600)
    try:
        with file:
            yield file
            file.flush()
            if before is not None:  # until here it was private
                os.chmod(temporary, stat.S_IMODE(before.st_mode))
            if durable:
                os.fsync(file.fileno())
            os.replace(temporary, target)  # while it is locked
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise

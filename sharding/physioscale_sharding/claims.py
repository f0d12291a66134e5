"""Claims on work that several processes could take: a lock file that dies with its holder.

The kernel drops the lock when the process ends, however it ends, so a rerun after `kill -9` needs
no clean-up. The file itself stays and means nothing.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from physioscale.errors import InputError

_POLL_S = 0.05
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def claimed(path: Path, *, wait_s: float = 0.0, shared: bool = False) -> Iterator[bool]:
    """Yield whether the claim on `path` was got; it is given back at the end of the block.

    Args:
        path: lock file, made where it is missing.
        wait_s: how long to wait for another holder to finish or die (s).
        shared: a claim that any number may hold together, but none beside an exclusive one.

    Raises:
        InputError: the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _lock(descriptor, path, wait_s, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, wait_s: float, kind: int) -> bool:
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise InputError(
                str(path.parent),
                found=f"a file system without file locks ({error.strerror})",
                expected="one where a process can claim its work",
                do="Mount it with locks (Lustre: -o flock), or choose another --out.",
            ) from None
        else:
            return True

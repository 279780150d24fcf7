"""The user's cache folder: files that are private to their owner, written atomically, and checked
before they are used."""

import contextlib
import os
import re
import stat
import sys
import time

try:  # Python's own: to load OpenSSL takes longer than to hash all that is hashed here
    from _sha2 import sha256
except ImportError:
    try:
        from _sha256 import sha256  # before Python 3.12
    except ImportError:
        from hashlib import sha256

DIGEST = 32  # bytes of SHA-256 in front of every payload
UNFINISHED = re.compile(r".+\.\d+\.[0-9a-f]{8}")  # files that their writer has not renamed yet
ABANDONED = 3600  # seconds after which the writer of such a file must have been killed

_told = set()  # folders that were said to be ignored
_swept = set()  # folders from which abandoned files were removed


def cache_folder():
    """The folder for compiled kernels: ``$NUMCORE_CACHE_DIR``, else ``numcore`` in the platform's
    folder for caches; None if no absolute path is known."""
    chosen = os.environ.get("NUMCORE_CACHE_DIR")
    if not chosen:
        home = os.path.expanduser("~")  # stays "~" for a user without a home
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
        elif sys.platform == "darwin":
            base = os.path.join(home, "Library", "Caches")
        else:
            base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
        chosen = os.path.join(base, "numcore")
    if not os.path.isabs(chosen):
        _ignored(chosen, "it is not an absolute path")
        return None
    return chosen


def _ignored(folder, reason):
    """Say once that compiled kernels are not kept."""
    if folder in _told:
        return
    _told.add(folder)
    import logging

    logger = logging.getLogger("numcore")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # a library prints nothing by itself
    logger.warning("no cache of compiled kernels: %s is ignored, since %s", folder, reason)


def _foreign(status):
    """Whether somebody else may write to a file or folder."""
    return sys.platform != "win32" and (
        status.st_mode & 0o022 != 0 or status.st_uid not in (os.geteuid(), 0)
    )


def fault(folder):
    """Why somebody else may be able to change what `folder` holds, None if nobody is."""
    if os.path.islink(folder):
        return "it is a symbolic link"
    path = first = os.path.realpath(folder)
    while True:
        status = os.lstat(path)
        # in a folder such as /tmp all may write, but only owners may rename and remove
        sticky = path != first and status.st_uid == 0 and status.st_mode & stat.S_ISVTX
        if _foreign(status) and not sticky:
            return f"others can write to {path}"
        if os.path.dirname(path) == path:
            return None
        path = os.path.dirname(path)


def _usable(folder):
    if folder is None:
        return False
    try:
        reason = fault(folder)
    except OSError:
        return False
    if reason:
        _ignored(folder, reason)
    return reason is None


def read(folder, name):
    """The payload stored under `name`, or None if it is missing, altered, truncated, or in a folder
    that others can write to."""
    return read_checked(os.path.join(folder, name), private=True) if _usable(folder) else None


def _digest(path, payload):
    """Of the payload under its name, so that no file is taken for another one."""
    return sha256(os.path.basename(path).encode() + b"\0" + payload).digest()


def read_checked(path, private=False):
    """The payload of a file whose checksum holds, else None; a `private` one must belong to this
    user or root, and only its owner may write to it."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except OSError:
        return None
    if private and _foreign(status):
        return None
    payload = content[DIGEST:]
    return payload if payload and _digest(path, payload) == content[:DIGEST] else None


def write(folder, name, payload):
    """Store `payload` under `name` if the folder can be used; a cache that cannot be written is no
    error."""
    if folder is None:
        return
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if _usable(folder):
            _sweep(folder)
            write_checked(os.path.join(folder, name), payload)
    except OSError:
        pass


def _sweep(folder):
    """Remove, once in a process, what killed writers have left."""
    if folder in _swept:
        return
    _swept.add(folder)
    for entry in os.scandir(folder):
        if UNFINISHED.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > ABANDONED:
            with contextlib.suppress(OSError):  # another process was quicker
                os.unlink(entry.path)


def write_checked(path, payload):
    """Write checksum and payload to a file that appears under its name whole or not at all."""
    unfinished = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_digest(path, payload) + payload)
        os.replace(unfinished, path)
    except OSError:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise


def installed_version(distribution):
    """The version of an installed distribution, read from the name of its ``.dist-info`` folder
    without importing it."""
    prefix = f"{distribution}-"
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.startswith(prefix) and name.endswith(".dist-info"):
                return name[len(prefix) : -len(".dist-info")]
    import importlib.metadata

    return importlib.metadata.version(distribution)

"""The user's cache folder: files that are private to their owner, written atomically, and checked
before they are used."""

import os
import sys

try:  # Python's own: to load OpenSSL takes longer than to hash all that is hashed here
    from _sha2 import sha256
except ImportError:
    try:
        from _sha256 import sha256  # before Python 3.12
    except ImportError:
        from hashlib import sha256

DIGEST = 32  # bytes of SHA-256 in front of every payload


def cache_folder():
    """The folder for compiled kernels: ``$NUMCORE_CACHE_DIR``, else ``numcore`` in the platform's
    folder for caches."""
    chosen = os.environ.get("NUMCORE_CACHE_DIR")
    if chosen:
        return chosen
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "numcore")


def _is_private(folder):
    """Whether only this user can write to `folder` (a symbolic link is not followed)."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    if sys.platform == "win32":  # the profile folder carries the access rules
        return True
    return (
        status.st_uid == os.geteuid() and not status.st_mode & 0o022 and not os.path.islink(folder)
    )


def read(folder, name):
    """The payload stored under `name`, or None if it is missing, altered, truncated, or in a folder
    that others can write to."""
    if not _is_private(folder):
        return None
    return read_checked(os.path.join(folder, name))


def read_checked(path):
    """The payload of a file whose checksum holds, else None."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return None
    payload = content[DIGEST:]
    return payload if payload and sha256(payload).digest() == content[:DIGEST] else None


def write(folder, name, payload):
    """Store `payload` under `name` if the folder can be used; a cache that cannot be written is no
    error."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if _is_private(folder):
            write_checked(os.path.join(folder, name), payload)
    except OSError:
        pass


def write_checked(path, payload):
    """Write checksum and payload to a file that appears under its name whole or not at all."""
    unfinished = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(sha256(payload).digest() + payload)
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

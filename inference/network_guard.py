"""Take the network away from this process, for good, before anything else is imported (Linux; no root needed).

`netns`: a network namespace of its own, in which even loopback is down (unshare(2), in a new user namespace).
`seccomp`: where the host forbids namespaces, a filter that makes socket(2) fail for every family but AF_UNIX (seccomp(2)).
`none`: neither is to be had, or the host is not Linux. It is said in the ready line, not hidden.
"""

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 1, 38, 22, 2
_EPERM, _AF_UNIX = 1, 1

# Classic BPF, <linux/bpf_common.h>, <linux/seccomp.h>
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000 | _EPERM
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_X32 = 0x40000000

# machine -> (AUDIT_ARCH, number of socket(2), number of io_uring_setup(2), which could open sockets behind the filter's back)
_MACHINES = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}

KINDS = ("netns", "seccomp", "none")


def leave_network(kinds: Sequence[str] = KINDS) -> str:
    """Apply the first of `kinds` that this host allows; which one. Call while the process has one thread."""
    if sys.platform != "linux":
        return "none"
    if "netns" in kinds and _enter_namespace():
        return "netns"
    if "seccomp" in kinds and _install_filter():
        return "seccomp"
    return "none"


def die_with_parent() -> None:
    """SIGKILL when the thread that started this process ends (prctl(2)). After `leave_network`: new credentials clear it."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _enter_namespace() -> bool:
    user, group = os.geteuid(), os.getegid()
    if _libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    try:  # keep our own ids, so that files we make are ours; user_namespaces(7)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        pass  # the kernel still checks files by the ids we had
    return True


def _install_filter() -> bool:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = _program(*machine)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) == 0)


def _program(architecture: int, socket: int, io_uring_setup: int) -> bytes:
    """The filter: another architecture's calls kill; sockets but AF_UNIX and io_uring fail with EPERM; all else is allowed."""
    instructions = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 5, 0, _X32),
        (_JUMP_EQUAL, 4, 0, io_uring_setup),
        (_JUMP_EQUAL, 0, 2, socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 0, 1, _AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL),
    )
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)

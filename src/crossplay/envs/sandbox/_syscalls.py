"""Numbers of the system calls that the sandbox refuses, per processor family (Linux)."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ARCHES", "Arch"]

# Never needed by a program that computes: network, other processes, mounts, kernel, keys, clocks, devices.
_ALWAYS_X86 = {
    **{"socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "accept4": 288},
    **{"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312},
    **{"mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308},
    **{"keyctl": 250, "add_key": 248, "request_key": 249, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323},
    **{"open_by_handle_at": 304, "name_to_handle_at": 303, "mknod": 133, "mknodat": 259},
    **{"init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320},
    **{"reboot": 169, "swapon": 167, "swapoff": 168, "settimeofday": 164, "clock_settime": 227},
    **{"clock_adjtime": 305, "adjtimex": 159, "sethostname": 170, "setdomainname": 171, "acct": 163, "quotactl": 179},
    **{"iopl": 172, "ioperm": 173, "syslog": 103, "modify_ldt": 154, "vhangup": 153, "personality": 135},
    **{"shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "memfd_create": 319, "fanotify_init": 300},
    **{"setpriority": 141, "sched_setaffinity": 203, "sched_setscheduler": 144, "sched_setparam": 142},
    **{"sched_setattr": 314, "ioprio_set": 251, "migrate_pages": 256, "move_pages": 279, "lookup_dcookie": 212},
}
_ALWAYS_ARM = {
    **{"socket": 198, "connect": 203, "accept": 202, "bind": 200, "listen": 201, "accept4": 242},
    **{"ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272},
    **{"mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268},
    **{"keyctl": 219, "add_key": 217, "request_key": 218, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282},
    **{"open_by_handle_at": 265, "name_to_handle_at": 264, "mknodat": 33},
    **{"init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104, "kexec_file_load": 294},
    **{"reboot": 142, "swapon": 224, "swapoff": 225, "settimeofday": 170, "clock_settime": 112},
    **{"clock_adjtime": 266, "adjtimex": 171, "sethostname": 161, "setdomainname": 162, "acct": 89, "quotactl": 60},
    **{"syslog": 116, "vhangup": 58, "personality": 92},
    **{"shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180, "memfd_create": 279, "fanotify_init": 262},
    **{"setpriority": 140, "sched_setaffinity": 122, "sched_setscheduler": 119, "sched_setparam": 118},
    **{"sched_setattr": 274, "ioprio_set": 30, "migrate_pages": 238, "move_pages": 239, "lookup_dcookie": 18},
}
# From 424 on all families share their numbers.
_ALWAYS_NEW = {
    **{"pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427},
    **{"open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433},
    **{"pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443},
    **{"memfd_secret": 447, "process_mrelease": 448},
}
# Changes of metadata: Landlock does not look at them, so they go where it stands alone.
_META_NEW = {"fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "file_setattr": 469}
_META_X86 = {
    **{"chmod": 90, "fchmod": 91, "fchmodat": 268, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260},
    **{"setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198},
    **{"fremovexattr": 199, "utime": 132, "utimes": 235, "utimensat": 280, "futimesat": 261},
}
_META_ARM = {
    **{"fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7},
    **{"removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "utimensat": 88},
}


class Arch(NamedTuple):
    """One processor family: its audit number and the numbers of its calls.

    forks: fork and vfork; signals: kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo; x32: whether
    a second table stands above bit 30.
    """

    audit: int
    always: list[int]
    meta: list[int]
    forks: list[int]
    signals: list[int]
    clone: int
    prlimit: int
    ioctl: int
    x32: bool
    clone3: int = 435


def _all(*tables: dict[str, int]) -> list[int]:
    return sorted(number for table in tables for number in table.values())


ARCHES = {
    "x86_64": Arch(
        *(0xC000003E, _all(_ALWAYS_X86, _ALWAYS_NEW), _all(_META_X86, _META_NEW), [57, 58], [62, 200, 234, 129, 297]),
        *(56, 302, 16, True),
    ),
    "aarch64": Arch(
        *(0xC00000B7, _all(_ALWAYS_ARM, _ALWAYS_NEW), _all(_META_ARM, _META_NEW), [], [129, 130, 131, 138, 240]),
        *(220, 261, 29, False),
    ),
}

//! The default filter of system calls, as data.
//!
//! What is allowed is what the default profile of containerd allows: everything an ordinary program needs, more for a
//! container that has the matching capability, and nothing that reaches past the container. What is not named fails
//! with EPERM.

use std::collections::BTreeSet;

use super::{Argument, Profile, Rule};

/// Allowed for everyone, with any arguments.
const ALLOWED: &str = "\
    accept accept4 access adjtimex alarm bind brk capget capset chdir chmod chown chown32 clock_adjtime \
    clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep \
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 \
    epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 \
    fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat \
    fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait \
    futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid \
    getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom \
    getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt \
    get_thread_area gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init \
    inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 \
    ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr \
    _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret \
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open \
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget \
    msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat _newselect open openat openat2 pause \
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 \
    preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read \
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr \
    removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask \
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo \
    sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile \
    sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 \
    setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
    setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr \
    setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall \
    socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs \
    sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill \
    truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes \
    vfork vmsplice wait4 waitid waitpid write writev";

/// Of one kind of processor.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &str = "arch_prctl modify_ldt";
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &str = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ALLOWED_HERE: &str = "";

/// Those whose programs this machine runs.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: &[&str] = &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: &[&str] = &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURES: &[&str] = &[];

/// Allowed with a capability.
const ALLOWED_WITH: &[(&str, &str)] = &[
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         name_to_handle_at open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount \
         umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Values of `personality` that do not weaken anything: Linux and 32-bit Linux, each with uname26, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Flags of `clone` that make namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NAMESPACES: u64 =
    0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

/// `AF_VSOCK`, which would reach the machine's own host past every network namespace.
const AF_VSOCK: u64 = 40;

/// `ENOSYS`, after which a C library falls back from `clone3` to `clone`.
const ENOSYS: u32 = 38;

/// The default profile for a container with these capabilities (names without `CAP_`).
pub(super) fn profile(capabilities: &BTreeSet<String>) -> Profile {
    let mut allowed: BTreeSet<&str> = ALLOWED.split_whitespace().chain(ALLOWED_HERE.split_whitespace()).collect();
    for (capability, names) in ALLOWED_WITH {
        if capabilities.contains(*capability) {
            allowed.extend(names.split_whitespace());
        }
    }
    let mut syscalls = vec![allow(allowed, Vec::new())];
    let is = |op: &str, value, value_two| vec![Argument { index: 0, value, value_two, op: op.to_owned() }];
    syscalls.extend(PERSONALITIES.map(|value| allow(["personality"], is("SCMP_CMP_EQ", value, 0))));
    syscalls.push(allow(["socket"], is("SCMP_CMP_NE", AF_VSOCK, 0)));
    if !capabilities.contains("SYS_ADMIN") {
        syscalls.push(allow(["clone"], is("SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES, 0)));
        syscalls.push(Rule {
            errno_ret: Some(ENOSYS),
            action: "SCMP_ACT_ERRNO".to_owned(),
            ..allow(["clone3"], Vec::new())
        });
    }
    Profile {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: None,
        architectures: ARCHITECTURES.iter().map(|a| (*a).to_owned()).collect(),
        syscalls,
    }
}

fn allow<'a>(names: impl IntoIterator<Item = &'a str>, args: Vec<Argument>) -> Rule {
    let names = names.into_iter().map(str::to_owned).collect();
    Rule { names, action: "SCMP_ACT_ALLOW".to_owned(), errno_ret: None, args }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(capabilities: &[&str], name: &str, allowed: bool) {
        let capabilities = capabilities.iter().map(|c| (*c).to_owned()).collect();
        let profile = profile(&capabilities);
        let mut rules = profile.syscalls.iter().filter(|r| r.names.iter().any(|n| n == name));
        let found = rules.any(|r| r.action == "SCMP_ACT_ALLOW");
        assert_eq!(found, allowed, "{name} with {capabilities:?}");
    }

    #[test]
    fn capabilities_open_more() {
        check(&[], "read", true);
        check(&[], "mount", false);
        check(&[], "unshare", false);
        check(&["SYS_ADMIN"], "mount", true);
        check(&[], "clone3", false);
        check(&["SYS_ADMIN"], "clone3", true);
        check(&[], "chroot", false);
        check(&["SYS_CHROOT"], "chroot", true);
        check(&[], "io_uring_setup", false);
        check(&[], "personality", true);
    }
}

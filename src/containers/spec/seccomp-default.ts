/**
 * The seccomp profile `RuntimeDefault`: an allow-list of system calls, by what they are for.
 *
 * What is not listed fails with EPERM. Left out are calls that reach beyond the container (modules, mounts, clocks,
 * keyrings, reboot), those with a history of kernel exploits (bpf, userfaultfd, io_uring, perf), and those that libraries
 * do not need. A call that a capability is all about is allowed to containers which hold that capability.
 */
import type { SeccompRule, SeccompSpec } from './oci.ts';

const ENOSYS = 38;
const EPERM = 1;
/** NEWTIME is no flag of clone(2): its bit lies in the exit signal. */
const CLONE_NAMESPACE_FLAGS = 0x7e020000;
const AF_ALG = 38;
const AF_NFC = 39;
const AF_VSOCK = 40;

const ALLOWED: Readonly<Record<string, string>> = {
  files: `access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs fsync ftruncate futimesat
    getcwd getdents getdents64 ioctl lchown link linkat lseek lstat mkdir mkdirat mknod mknodat name_to_handle_at newfstatat
    open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename
    renameat renameat2 rmdir sendfile stat statfs statx symlink symlinkat sync sync_file_range syncfs truncate umask unlink
    unlinkat utime utimensat utimes write writev`,
  attributes: `fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat`,
  pipesAndPolling: `epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch pipe pipe2 poll ppoll
    pselect6 select signalfd signalfd4 splice tee vmsplice`,
  asynchronous: 'io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioprio_get ioprio_set',
  memory: `brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease
    remap_file_pages`,
  processes: `alarm capget capset execve execveat exit exit_group fork getcpu getpgid getpgrp getpid getppid getpriority
    getrlimit getrusage getsid gettid kill pause pidfd_open pidfd_send_signal prctl prlimit64 setpgid setpriority setrlimit
    setsid sysinfo times tgkill tkill uname vfork wait4 waitid waitpid`,
  identity: `getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups setregid
    setresgid setresuid setreuid setuid`,
  threads: `futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list get_thread_area rseq set_robust_list
    set_thread_area set_tid_address`,
  signals: `restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn uretprobe`,
  scheduling: `sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield`,
  // adjtimex and clock_adjtime only read without CAP_SYS_TIME.
  time: `adjtimex clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time
    timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime`,
  sockets: `accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmsg send
    sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair`,
  interprocess: `ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd
    semctl semget semop semtimedop shmat shmctl shmdt shmget`,
  // A process may lock itself in further.
  confinement: `landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr seccomp`,
  mountTable: 'listmount statmount',
  random: 'getrandom',
  // ptrace reaches no process outside the container, and since Linux 4.8 it can't get round the filter.
  debugging: 'process_vm_readv process_vm_writev ptrace',
  // What 32-bit programs use in place of the above.
  bits32: `_llseek _newselect chown32 clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 fadvise64_64
    fchown32 fcntl64 fstat64 fstatat64 fstatfs64 ftruncate64 futex_time64 getegid32 geteuid32 getgid32 getgroups32 getresgid32
    getresuid32 getuid32 io_pgetevents_time64 lchown32 lstat64 mmap2 mq_timedreceive_time64 mq_timedsend_time64 ppoll_time64
    pselect6_time64 recvmmsg_time64 rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 sendfile64
    setfsgid32 setfsuid32 setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32 setuid32 stat64 statfs64
    timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 truncate64 ugetrlimit utimensat_time64`,
};

const FOR_CAPABILITY: Readonly<Record<string, string>> = {
  CAP_BPF: 'bpf',
  CAP_DAC_READ_SEARCH: 'open_by_handle_at',
  CAP_PERFMON: 'perf_event_open',
  CAP_SYS_ADMIN: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
    open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`,
  CAP_SYS_BOOT: 'reboot',
  CAP_SYS_CHROOT: 'chroot',
  CAP_SYS_MODULE: 'delete_module finit_module init_module',
  CAP_SYS_NICE: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node',
  CAP_SYS_PACCT: 'acct',
  CAP_SYS_PTRACE: 'kcmp pidfd_getfd process_madvise',
  CAP_SYS_RAWIO: 'ioperm iopl',
  CAP_SYS_TIME: 'clock_settime clock_settime64 settimeofday stime',
  CAP_SYS_TTY_CONFIG: 'vhangup',
  CAP_SYSLOG: 'syslog',
};

interface Architecture {
  readonly names: readonly string[];
  readonly calls: string;
}

/** By Node's name of the architecture. The 32-bit variants are allowed to run beside the native one. */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  x64: { names: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'], calls: 'arch_prctl modify_ldt' },
  arm64: {
    names: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
    calls: 'arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2',
  },
};

/** PER_LINUX, PER_LINUX32, both with UNAME26, and the query. */
const PERSONALITIES = [0, 0x8, 0x20000, 0x20008, 0xffffffff];

const ALWAYS = Object.values(ALLOWED).flatMap(words);

/** The default profile for a container with these capabilities in its bounding set. */
export function defaultSeccompProfile(capabilities: readonly string[], architecture: string): SeccompSpec {
  const platform = ARCHITECTURES[architecture];
  const byCapability = capabilities.flatMap((name) => words(FOR_CAPABILITY[name] ?? ''));
  const names = new Set([...ALWAYS, ...words(platform?.calls ?? ''), ...byCapability]);
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    ...(platform === undefined ? {} : { architectures: platform.names }),
    syscalls: [
      { names: [...names].toSorted(), action: 'SCMP_ACT_ALLOW' },
      ...SOCKET_RULES,
      ...PERSONALITIES.map((value) => allowWhen('personality', 'SCMP_CMP_EQ', value)),
      ...(capabilities.includes('CAP_SYS_ADMIN') ? [] : CLONE_RULES),
    ],
  };
}

/**
 * No AF_VSOCK (it reaches the hypervisor) and no AF_ALG (a large kernel surface that user space does better). One
 * comparison a rule: runc joins several comparisons of one argument with "or".
 */
const SOCKET_RULES: readonly SeccompRule[] = [
  allowWhen('socket', 'SCMP_CMP_LT', AF_ALG),
  allowWhen('socket', 'SCMP_CMP_EQ', AF_NFC),
  allowWhen('socket', 'SCMP_CMP_GT', AF_VSOCK),
];

/**
 * clone may make threads and processes, but no namespaces. The flags of clone3 lie in memory, where a filter can't look:
 * ENOSYS makes the C library fall back to clone, EPERM would not.
 */
const CLONE_RULES: readonly SeccompRule[] = [
  {
    names: ['clone'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 0, value: CLONE_NAMESPACE_FLAGS, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
  },
  { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
];

function allowWhen(name: string, op: 'SCMP_CMP_EQ' | 'SCMP_CMP_LT' | 'SCMP_CMP_GT', value: number): SeccompRule {
  return { names: [name], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value, op }] };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}

/**
 * The AppArmor profile of containers that ask for none: a second lock, behind namespaces, capabilities and read-only
 * mounts, on what those guard. What a container may do to its own files and processes it may do; what is the host's
 * (kernel settings, mounts, firmware, security modules) it may not, not even with capabilities that were added to it.
 *
 * A profile of this name that is loaded already stays: the administrator's word counts, and it may be in use.
 */
export const DEFAULT_APPARMOR_PROFILE = 'cairn-default';

/** No includes: it must load wherever the parser is, whatever is in /etc/apparmor.d. A denial wins over what is granted. */
export const DEFAULT_APPARMOR_RULES = `
profile ${DEFAULT_APPARMOR_PROFILE} flags=(attach_disconnected,mediate_deleted) {
  file,
  network,
  capability,
  umount,

  # Its own kind, and whoever stops it.
  ptrace (trace, tracedby, read, readby) peer=${DEFAULT_APPARMOR_PROFILE},
  signal (send, receive) peer=${DEFAULT_APPARMOR_PROFILE},
  signal (receive) peer=unconfined,
  signal (receive) peer={cairnd,conmon,crun,runc},

  deny mount,

  # All of /proc but the directories of processes.
  deny /proc/[^0-9]** wkl,
  deny /proc/{kcore,kmem,mem,keys} r,

  # All of /sys but /sys/fs/cgroup.
  deny /sys/[^f]** wkl,
  deny /sys/f[^s]** wkl,
  deny /sys/fs/[^c]** wkl,
  deny /sys/fs/c[^g]** wkl,
  deny /sys/{firmware,kernel/security,devices/virtual/powercap}/** r,
}
`;

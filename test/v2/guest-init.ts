/**
 * The first process of the test machine, a shell script: makes a Linux of cgroup v2 and AppArmor out of the bare kernel,
 * runs one command in it, says how that ended and powers off.
 *
 * The root is the host's own, read-only. What must be writable is the machine's: /tmp on its disk (overlayfs takes no
 * upper directory on hostfs), /run and /var in memory, and the directory of the results, the one place of the host's that it writes to.
 */

/** In front of the exit code, in a line of its own on the console. */
export const EXIT_MARK = 'machine: the command ended with code ';
/** Where the guest sees the machine's directory. */
export const MACHINE_DIRECTORY = '/run/machine';
/** All it takes to boot the kernel's own modules; each is there as long as one machine runs. */
const KERNEL_MODULES = [
  ...['overlay', 'bridge', 'veth', 'br_netfilter', 'ipv6', 'ip_tables', 'iptable_nat', 'iptable_filter', 'nf_nat'],
  ...['ip6_tables', 'ip6table_nat', 'ip6table_filter', 'tun', 'loop'],
  ...['xt_comment', 'xt_MASQUERADE', 'xt_nat', 'xt_mark', 'xt_conntrack', 'xt_addrtype', 'xt_multiport', 'xt_tcpudp'],
];
/** The machine's nf_tables knows no IP family: every program that asks for iptables gets the old one. */
const IPTABLES = { nft: '/usr/sbin/xtables-nft-multi', legacy: '/usr/sbin/xtables-legacy-multi' };
const OWN_PLACES = ['/tmp', '/run', '/var'];

export interface GuestInitOptions {
  /** On the host; has `results/` and `lib/modules`. */
  readonly machineDirectory: string;
  readonly workingDirectory: string;
  /** For /bin/sh. */
  readonly command: string;
  readonly environment: Readonly<Record<string, string>>;
}

export function guestInit({ machineDirectory, workingDirectory, command, environment }: GuestInitOptions): string {
  const isHidden = OWN_PLACES.some((place) => workingDirectory.startsWith(`${place}/`));
  return `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home LANG=C.UTF-8 TMPDIR=/tmp
fail() { echo "machine: $1"; sync; echo o >/proc/sysrq-trigger; sleep 60; }
mount -t proc proc /proc || echo 'machine: no /proc'
echo 4 >/proc/sys/kernel/printk
mount -t sysfs sysfs /sys && mount -t securityfs securityfs /sys/kernel/security || fail 'no securityfs'
mount -t cgroup2 cgroup2 /sys/fs/cgroup || fail 'no cgroup2'
for controller in cpu io memory pids cpuset hugetlb; do
  echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
done
# The kernel has mounted /dev.
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
ln -sf /proc/self/fd /dev/fd; ln -sf fd/0 /dev/stdin; ln -sf fd/1 /dev/stdout; ln -sf fd/2 /dev/stderr
mount -t tmpfs -o mode=0755 tmpfs /run || fail 'no /run'
mount -t tmpfs -o mode=0755 tmpfs /var || fail 'no /var'
mkdir -p $HOME ${MACHINE_DIRECTORY} /run/lock /var/lib /var/cache /var/log /var/tmp; ln -s ../run /var/run
mount -t hostfs -o ${quote(machineDirectory)} none ${MACHINE_DIRECTORY} || fail 'no machine directory'
modprobe -a -d ${MACHINE_DIRECTORY} ${KERNEL_MODULES.join(' ')} || fail 'modules are missing'
mount -t ext4 /dev/ubda /tmp && chmod 1777 /tmp || fail 'no disk'
mount --bind ${IPTABLES.legacy} ${IPTABLES.nft} || fail 'no iptables-legacy'
# The one name that needs no name service.
hostname localhost
ip link set lo up
${isHidden ? `mkdir -p ${quote(workingDirectory)} && mount -t hostfs -o ${quote(workingDirectory)} none ${quote(workingDirectory)}` : ''}
cd ${quote(workingDirectory)} || fail 'no working directory'
export ${Object.entries(environment)
    .map(([name, value]) => `${name}=${quote(value)}`)
    .join(' ')} MACHINE_RESULTS=${MACHINE_DIRECTORY}/results
/bin/sh -c ${quote(command)}
code=$?
sync
echo; echo "${EXIT_MARK}$code"
echo o >/proc/sysrq-trigger
sleep 60
`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

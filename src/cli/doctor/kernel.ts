/** What the kernel must have built in, loaded or turned on. */
import { release } from 'node:os';
import { type Check, subject } from './check.ts';
import { isThere, listNames, readText } from './host.ts';
import { isAtLeast, parseVersion, type Version } from './version.ts';

/** pidfd_open and its poll: without them a process can't be watched without mistaking its number. */
const PIDFD: Version = [5, 3, 0];
/** Overlay layers can be mounted with mapped IDs. */
const IDMAPPED_OVERLAY: Version = [5, 19, 0];
const INOTIFY_INSTANCES_MIN = 256;

export async function checkKernel(): Promise<Check[]> {
  return [
    checkVersion(release()),
    await checkOverlay(),
    await checkNamespaces(),
    await checkUserNamespaces(),
    await checkSeccomp(),
    checkIdmappedMounts(release()),
    await checkBridgeNetfilter(),
    await checkInotify(),
  ];
}

export function checkVersion(text: string): Check {
  const kernel = subject('kernel.version', 'Cairn watches processes through pidfds, which Linux has from 5.3 on.');
  const version = parseVersion(text);
  if (version && isAtLeast(version, PIDFD)) return kernel.ok(`Linux ${text}, pidfd`);
  return kernel.failed(`Linux ${text} has no pidfd`, 'Install a kernel of 5.3 or later.');
}

async function checkOverlay(): Promise<Check> {
  const overlay = subject('kernel.overlay', 'Image layers are put on top of each other by overlayfs.');
  const filesystems = (await readText('/proc/filesystems')) ?? '';
  if (/\boverlay$/m.test(filesystems)) return overlay.ok('overlayfs is there');
  return overlay.failed(
    'overlayfs is not loaded',
    'modprobe overlay; echo overlay > /etc/modules-load.d/cairn.conf (or a kernel with CONFIG_OVERLAY_FS)',
  );
}

async function checkNamespaces(): Promise<Check> {
  const namespaces = subject('kernel.namespaces', 'Pods and containers are separated by namespaces.');
  const there = (await listNames('/proc/self/ns')) ?? [];
  const missing = ['mnt', 'net', 'ipc', 'uts', 'pid'].filter((name) => !there.includes(name));
  if (missing.length === 0) {
    const cgroup = there.includes('cgroup') ? ', cgroup' : '';
    return namespaces.ok(`mount, network, IPC, UTS, PID${cgroup}`);
  }
  return namespaces.failed(`the kernel has no ${missing.join(', ')} namespaces`, 'Install a kernel with CONFIG_*_NS.');
}

async function checkUserNamespaces(): Promise<Check> {
  const user = subject('kernel.user-namespaces', 'Pods with hostUsers: false run in a user namespace.');
  const limit = await readText('/proc/sys/user/max_user_namespaces');
  if (limit === undefined) return user.warning('the kernel has none', 'Install a kernel with CONFIG_USER_NS.');
  if (limit === '0') return user.warning('turned off', 'sysctl -w user.max_user_namespaces=15000');
  return user.ok(`up to ${limit}`);
}

async function checkSeccomp(): Promise<Check> {
  const seccomp = subject('kernel.seccomp', 'The default profile keeps containers from dangerous system calls.');
  const actions = await readText('/proc/sys/kernel/seccomp/actions_avail');
  if (actions !== undefined) return seccomp.ok('filters are there');
  if (/^Seccomp:/m.test((await readText('/proc/self/status')) ?? '')) return seccomp.ok('there');
  return seccomp.failed(
    'the kernel has no seccomp filters: pods that ask for RuntimeDefault are refused',
    'Install a kernel with CONFIG_SECCOMP_FILTER.',
  );
}

export function checkIdmappedMounts(text: string): Check {
  const idmapped = subject(
    'kernel.idmapped-mounts',
    'Pods with hostUsers: false see image layers and volumes through mounts that map owners.',
  );
  const version = parseVersion(text);
  if (version && isAtLeast(version, IDMAPPED_OVERLAY)) return idmapped.ok('there, also below overlayfs');
  return idmapped.warning(
    `Linux ${text} can't map the owners of image layers: pods with hostUsers: false are refused`,
    'Install a kernel of 5.19 or later, if such pods are wanted.',
  );
}

async function checkBridgeNetfilter(): Promise<Check> {
  const bridge = subject(
    'kernel.bridge-netfilter',
    'Traffic between pods of one bridge must pass iptables, or Services do not work from a pod to its neighbour.',
  );
  const fix =
    'modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1';
  const values = await Promise.all(
    ['iptables', 'ip6tables'].map((name) => readText(`/proc/sys/net/bridge/bridge-nf-call-${name}`)),
  );
  if (values.every((value) => value === '1')) return bridge.ok('bridged traffic passes iptables and ip6tables');
  if (values[0] === undefined) return bridge.warning('the module br_netfilter is not loaded', fix);
  return bridge.warning('bridged traffic bypasses iptables or ip6tables', fix);
}

async function checkInotify(): Promise<Check> {
  const inotify = subject(
    'kernel.inotify',
    'Cairn, the kubelet and programs in pods watch files, and share one limit.',
  );
  const limit = await readText('/proc/sys/fs/inotify/max_user_instances');
  if (limit === undefined || !(await isThere('/proc/sys/fs/inotify'))) {
    return inotify.failed('the kernel has no inotify', 'Install a kernel with CONFIG_INOTIFY_USER.');
  }
  if (Number(limit) >= INOTIFY_INSTANCES_MIN) return inotify.ok(`${limit} instances a user`);
  return inotify.warning(`only ${limit} instances a user`, 'sysctl -w fs.inotify.max_user_instances=8192');
}

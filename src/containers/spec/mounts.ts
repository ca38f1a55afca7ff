/** The mounts of a container: what every container has, the pod's files, and the caller's mounts over them. */
import { join, posix } from 'node:path';
import { podFiles } from '../../pods/index.ts';
import type { MountSpec } from './oci.ts';
import type { SpecInput } from './spec-input.ts';

const SECURE = ['nosuid', 'noexec', 'nodev'] as const;

/** Sorted so that a mount point's parents come before it; the caller's mount replaces ours at the same place. */
export function buildMounts(input: SpecInput): MountSpec[] {
  const callers = new Set(input.mounts.map((mount) => posix.normalize(mount.destination)));
  const ours = [...systemMounts(input), ...podMounts(input)].filter((mount) => !callers.has(mount.destination));
  const all = [...ours, ...input.ownVolumes, ...input.mounts];
  return all.toSorted((a, b) => depth(a.destination) - depth(b.destination));
}

function systemMounts(input: SpecInput): MountSpec[] {
  const access = input.config.security.privileged ? 'rw' : 'ro';
  return [
    mount('/proc', 'proc', 'proc', SECURE),
    mount('/dev', 'tmpfs', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
    mount('/dev/pts', 'devpts', 'devpts', ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5']),
    mount('/dev/mqueue', 'mqueue', 'mqueue', SECURE),
    sysMount(input, access),
    mount('/sys/fs/cgroup', 'cgroup', 'cgroup', [...SECURE, 'relatime', access]),
  ];
}

/** Root of a user namespace may mount the sysfs of no network but its own: on the host's network it sees the host's, read-only. */
function sysMount({ pod }: SpecInput, access: string): MountSpec {
  const foreign = pod.namespaces.user !== undefined && pod.namespaces.network === undefined;
  if (foreign) return mount('/sys', 'bind', '/sys', ['rbind', 'rprivate', ...SECURE, 'ro']);
  return mount('/sys', 'sysfs', 'sysfs', [...SECURE, access]);
}

function podMounts(input: SpecInput): MountSpec[] {
  const { pod, config } = input;
  const files = podFiles(pod.directory);
  const access = config.security.readonlyRootfs ? 'ro' : 'rw';
  const bind = (destination: string, source: string) =>
    mount(destination, 'bind', source, ['rbind', 'rprivate', access]);
  return [
    bind('/etc/hostname', files.hostname),
    bind('/etc/hosts', files.hosts),
    bind('/etc/resolv.conf', files.resolvConf),
    mount('/dev/shm', 'bind', pod.namespaces.ipc === undefined ? '/dev/shm' : files.shm, ['rbind', 'rprivate', 'rw']),
  ];
}

function mount(destination: string, type: string, source: string, options: readonly string[]): MountSpec {
  return { destination, type, source, options: [...options] };
}

function depth(path: string): number {
  return join('/', path).split('/').filter(Boolean).length;
}

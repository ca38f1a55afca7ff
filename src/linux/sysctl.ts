/** Which kernel parameters belong to a namespace, and where they lie in /proc/sys. */
import { CairnError } from '../base/errors.ts';

export type SysctlNamespace = 'network' | 'ipc' | 'uts';

export interface Sysctl {
  /** With dots, as sysctl(8) prints it. */
  readonly name: string;
  /** Below /proc/sys. */
  readonly path: string;
  /** The namespace that owns it; undefined: it belongs to the whole machine. */
  readonly namespace: SysctlNamespace | undefined;
}

/** As the kernel has them in its per-IPC-namespace table. */
const IPC = new Set([
  'kernel.auto_msgmni',
  'kernel.msg_next_id',
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.sem_next_id',
  'kernel.shm_next_id',
  'kernel.shm_rmid_forced',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
]);

/**
 * Reads a name in either of sysctl(8)'s forms: `net.ipv4.ip_forward` and `net/ipv4/ip_forward`, where the separator that
 * comes first separates and the other one stands for a dot in a name (`net/ipv4/conf/eth0.1/x`). InvalidArgument for a
 * name that is none.
 */
export function parseSysctl(unsafeName: string): Sysctl {
  const dot = unsafeName.indexOf('.');
  const slash = unsafeName.indexOf('/');
  const slashFirst = slash !== -1 && (dot === -1 || slash < dot);
  const parts = slashFirst ? unsafeName.split('/') : unsafeName.split('.').map((part) => part.replaceAll('/', '.'));
  const valid = parts.length > 1 && parts.every((part) => /^[\w.:@%+-]+$/.test(part) && part !== '.' && part !== '..');
  if (!valid) throw new CairnError('InvalidArgument', `sysctl ${JSON.stringify(unsafeName)}: not a parameter's name`);
  const name = parts.map((part) => part.replaceAll('.', '/')).join('.');
  return { name, path: parts.join('/'), namespace: namespaceOf(name) };
}

function namespaceOf(name: string): SysctlNamespace | undefined {
  if (name.startsWith('net.')) return 'network';
  if (IPC.has(name) || name.startsWith('fs.mqueue.')) return 'ipc';
  return name === 'kernel.domainname' ? 'uts' : undefined;
}

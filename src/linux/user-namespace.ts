/**
 * A user namespace, with the namespaces that belong to it, pinned without a process.
 *
 * The kernel makes no user namespace for a thread of a threaded process, so a child makes it: `unshare` runs `cat`, which shows by
 * an echo that it is inside; then its IDs are mapped, its namespaces pinned, and its input closed, which ends it.
 */
import { once } from 'node:events';
import { open, unlink, writeFile } from 'node:fs/promises';
import { CairnError, messageOf } from '../base/errors.ts';
import { type IdMappings, mapFile } from './id-mappings.ts';
import { bindMount, unmountSync } from './mount.ts';
import { type ChildProcess, spawnProcess } from './process.ts';

/** Where to pin each: absolute, not there yet, in a directory that is. */
export interface UserNamespacePins {
  readonly user: string;
  readonly network?: string | undefined;
  readonly ipc?: string | undefined;
  readonly uts?: string | undefined;
}

const FILES = { user: 'user', network: 'net', ipc: 'ipc', uts: 'uts' } as const;
const FLAGS = { user: '--user', network: '--net', ipc: '--ipc', uts: '--uts' } as const;
const KINDS = ['user', 'network', 'ipc', 'uts'] as const;
/** It takes some milliseconds; the rest is for a host that is out of breath. */
const TIMEOUT_MS = 10_000;
const OUTPUT_BYTES_MAX = 4096;
const SIGKILL = 9;
const STEP = 'linux.user_namespace';

/** On failure nothing is left. FailedPrecondition when the host does not allow user namespaces. */
export async function pinUserNamespace(pins: UserNamespacePins, mappings: IdMappings): Promise<void> {
  const kinds = KINDS.filter((kind) => pins[kind] !== undefined);
  const child = spawnProcess({
    file: '/usr/bin/unshare',
    args: [...kinds.map((kind) => FLAGS[kind]), 'cat'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    ...{ stdin: 'pipe', stdout: 'pipe', stderr: 'pipe' },
  });
  const pinned: string[] = [];
  try {
    await isInside(child);
    await writeFile(`/proc/${child.pid}/uid_map`, mapFile(mappings.uids));
    await writeFile(`/proc/${child.pid}/gid_map`, mapFile(mappings.gids));
    for (const kind of kinds) {
      const pin = pins[kind];
      if (pin === undefined) continue;
      await (await open(pin, 'wx', 0o444)).close();
      pinned.push(pin);
      bindMount(`/proc/${child.pid}/ns/${FILES[kind]}`, pin);
    }
  } catch (error) {
    for (const pin of pinned) {
      unmountSync(pin, { detach: true });
      await unlink(pin);
    }
    throw new CairnError('FailedPrecondition', `no user namespace can be made: ${messageOf(error)}`, {
      step: STEP,
      cause: error,
    });
  } finally {
    child.stdin?.end();
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.kill(SIGKILL);
    await child.exited;
  }
}

/** Resolves when the child answers from inside. */
async function isInside({ stdin, stdout, stderr, exited }: ChildProcess): Promise<void> {
  if (!stdin || !stdout || !stderr) throw new Error('the child has no pipes');
  let complaint = '';
  stderr.on('data', (chunk: Buffer) => {
    if (complaint.length < OUTPUT_BYTES_MAX) complaint += chunk.toString();
  });
  const ended = exited.then(async ({ code }) => {
    if (!stderr.readableEnded) await once(stderr, 'end').catch(() => undefined);
    throw new Error(`unshare ended with code ${code}: ${complaint.trim()}`);
  });
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`unshare did not answer within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  try {
    stdin.write('\n');
    await Promise.race([once(stdout, 'data'), ended, late]);
  } finally {
    clearTimeout(timer);
    ended.catch(() => undefined);
  }
}

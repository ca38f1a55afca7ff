/** The file systems of root and state: can they hold what belongs there, and is there room? */
import { mkdir, mkdtemp, readdir, rm, rmdir, statfs, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, messageOf } from '../../base/errors.ts';
import type { Config } from '../../config/index.ts';
import { mountOverlay, unmount } from '../../linux/index.ts';
import { type Check, subject } from './check.ts';
import { isWritable, nearestExisting } from './host.ts';

const GIB = 1024 ** 3;
const FREE_BYTES_NEEDED = 1 * GIB;
const FREE_BYTES_WANTED = 10 * GIB;
/** Shares of what the file system has. */
const FREE_INODES_NEEDED = 0.01;
const FREE_INODES_WANTED = 0.1;

/** statfs(2), f_type. */
const FILESYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2035054128: 'overlay',
  26985: 'nfs',
  1702057286: 'fuse',
  801189825: 'zfs',
  16914839: '9p',
  4076150800: 'f2fs',
  12648430: 'hostfs',
  19780: 'vfat',
};
/** Locks, syncs or renames of these can't be trusted with a database. */
const REMOTE = ['nfs', '9p', 'fuse', 'hostfs'];

export async function checkDisk({ root, state }: Pick<Config, 'root' | 'state'>): Promise<Check[]> {
  const place = await nearestExisting(root);
  const usage = await statfs(place);
  return [
    checkRootKind(root, nameOf(usage.type)),
    await checkOverlayUpper(place),
    checkSpace(root, usage.bavail * usage.bsize, usage.blocks * usage.bsize),
    checkInodes(root, usage.ffree, usage.files),
    await checkState(state),
  ];
}

function checkRootKind(root: string, kind: string): Check {
  const rootKind = subject('disk.root', 'Images, containers and the database must survive a power cut.');
  const fix = 'Set root to a directory on a local ext4 or xfs.';
  if (kind === 'tmpfs') return rootKind.warning(`${root} is on a tmpfs: everything is gone after a reboot`, fix);
  if (REMOTE.includes(kind)) return rootKind.failed(`${root} is on ${kind}`, fix);
  return rootKind.ok(`${root} is on ${kind}`);
}

async function checkOverlayUpper(place: string): Promise<Check> {
  const upper = subject('disk.overlay', "overlayfs writes a container's changes there.");
  const fix = 'Set root to a directory on ext4, or xfs made with ftype=1, that is not itself inside an overlay.';
  if (!(await isWritable(place))) {
    return upper.failed(`${place} can't be written to`, 'Run as root, and mount the file system read-write.');
  }
  try {
    const seen = await removeThroughOverlay(place);
    if (seen.length === 0) return upper.ok(`${place} can be written to through overlayfs`);
    return upper.failed(`${place}: removed files are still listed (no d_type)`, fix);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return upper.failed(messageOf(error), fix);
  }
}

/**
 * Does what a container's writable layer is for: removes a file of the image. That leaves a whiteout above, which must
 * not be seen. Returns what is seen: the whiteout itself where directories don't tell the type of their entries.
 */
async function removeThroughOverlay(place: string): Promise<string[]> {
  const directory = await mkdtemp(join(place, '.cairn-doctor-'));
  const at = (name: string) => join(directory, name);
  try {
    for (const name of ['lower', 'upper', 'work', 'target']) await mkdir(at(name));
    await writeFile(at('lower/file'), '');
    await mountOverlay({ lower: [at('lower')], upper: at('upper'), work: at('work'), target: at('target') });
    try {
      await unlink(at('target/file'));
      return await readdir(at('target'));
    } finally {
      await unmount(at('target'));
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export function checkSpace(root: string, freeBytes: number, totalBytes: number): Check {
  const space = subject('disk.space', 'A full disk stops pulls, logs and the database.');
  const summary = `${gib(freeBytes)} of ${gib(totalBytes)} GiB free for ${root}`;
  const fix = `cairn prune, or move root to a larger disk; the kubelet's image garbage collection needs room to act.`;
  if (freeBytes < FREE_BYTES_NEEDED) return space.failed(summary, fix);
  return freeBytes < FREE_BYTES_WANTED ? space.warning(summary, fix) : space.ok(summary);
}

export function checkInodes(root: string, free: number, total: number): Check {
  const inodes = subject('disk.inodes', 'Images are many small files: inodes can run out before bytes do.');
  // btrfs and zfs make them as needed.
  if (total === 0) return inodes.ok(`as many as needed for ${root}`);
  const summary = `${free} of ${total} inodes free for ${root}`;
  const fix = 'Remove images, or make the file system with more inodes (mkfs.ext4 -i 8192).';
  if (free / total < FREE_INODES_NEEDED) return inodes.failed(summary, fix);
  return free / total < FREE_INODES_WANTED ? inodes.warning(summary, fix) : inodes.ok(summary);
}

async function checkState(state: string): Promise<Check> {
  const volatile = subject('disk.state', 'What belongs to the running system should end with it.');
  const place = await nearestExisting(state);
  const kind = nameOf((await statfs(place)).type);
  // Not by permission only: on some file systems (sysfs) root may write, but nobody can make anything.
  if (!(await canMakeDirectory(place))) {
    return volatile.failed(`${place} can't be written to`, 'Run as root, or set state to another directory.');
  }
  if (REMOTE.includes(kind)) return volatile.failed(`${state} is on ${kind}`, 'Set state to a directory on a tmpfs.');
  if (kind === 'tmpfs') return volatile.ok(`${state} is on a tmpfs`);
  return volatile.warning(
    `${state} is on ${kind}: its files outlive a reboot (cairnd notices) and are slower`,
    'Mount a tmpfs on /run, or set state to a directory on one.',
  );
}

async function canMakeDirectory(place: string): Promise<boolean> {
  try {
    await rmdir(await mkdtemp(join(place, '.cairn-doctor-')));
    return true;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

function nameOf(type: number): string {
  return FILESYSTEMS[type] ?? `a file system of type 0x${type.toString(16)}`;
}

function gib(bytes: number): string {
  return (bytes / GIB).toFixed(1);
}

/**
 * ID-mapped mounts (mount_setattr(2), Linux 5.12): directories whose files belong to other users than on disk. What user 0 owns on
 * disk belongs, through a mount mapped by a user namespace, to the ID that is 0 in there.
 */
import { constants, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { AT_EMPTY_PATH, AT_FDCWD, bind, closeDescriptor, cString, O_CLOEXEC, room } from './libc.ts';
import { MountFlag, makePropagation, mount, unmountSync } from './mount.ts';

// One system call table for every architecture since 5.2; glibc has wrappers only from 2.36 on.
const SYS_OPEN_TREE = 428;
const SYS_MOVE_MOUNT = 429;
const SYS_MOUNT_SETATTR = 442;
const OPEN_TREE_CLONE = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_RDONLY = 1;
const MOUNT_ATTR_IDMAP = 0x100000;
/** struct mount_attr: u64 attr_set, attr_clr, propagation, userns_fd. */
const MOUNT_ATTR_BYTES = 32;

const openTreeCall = bind('syscall', ['long', 'long', 'pointer', 'long'], 'long');
const moveMountCall = bind('syscall', ['long', 'long', 'pointer', 'long', 'pointer', 'long'], 'long');
const mountSetattrCall = bind('syscall', ['long', 'long', 'pointer', 'long', 'pointer', 'long'], 'long');

/** Mounts `source`, read-only and mapped by the user namespace (a path to one), at `target`. */
export function mountMapped(source: string, target: string, userNamespace: string): void {
  const namespace = openSync(userNamespace, constants.O_RDONLY);
  let tree: number | undefined;
  try {
    tree = openTreeCall(source, SYS_OPEN_TREE, AT_FDCWD, cString(source), OPEN_TREE_CLONE | O_CLOEXEC);
    const attributes = room(MOUNT_ATTR_BYTES);
    attributes.writeBigUInt64LE(BigInt(MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY), 0);
    attributes.writeBigUInt64LE(BigInt(namespace), 24);
    const empty = cString('');
    mountSetattrCall(source, SYS_MOUNT_SETATTR, tree, empty, AT_EMPTY_PATH, attributes, MOUNT_ATTR_BYTES);
    moveMountCall(target, SYS_MOVE_MOUNT, tree, empty, AT_FDCWD, cString(target), MOVE_MOUNT_F_EMPTY_PATH);
  } finally {
    if (tree !== undefined) closeDescriptor(tree);
    closeDescriptor(namespace);
  }
}

/**
 * The same for many at once, side by side in a tmpfs at `directory`, which exists. Returns where each is. Unmounting `directory`
 * (detached) takes them all away.
 */
export function mountAllMapped(sources: readonly string[], directory: string, userNamespace: string): string[] {
  const flags = MountFlag.nosuid | MountFlag.nodev | MountFlag.noexec;
  mount({ source: 'tmpfs', target: directory, type: 'tmpfs', flags, data: 'mode=0700' });
  try {
    // Nobody else is to see what happens here for a moment.
    makePropagation(directory, 'private');
    return sources.map((source, index) => {
      const target = join(directory, String(index));
      mkdirSync(target);
      mountMapped(source, target, userNamespace);
      return target;
    });
  } catch (error) {
    unmountSync(directory, { detach: true });
    throw error;
  }
}

/**
 * posix_spawn(3): starts a program and blocks the loop for 0.1 ms instead of the 1.5 ms of `child_process.spawn`.
 *
 * The child starts clean: default signal actions and an empty mask (Node ignores SIGPIPE), a session of its own (so its
 * PID is its process group and no terminal's SIGINT reaches it), no descriptor but the given ones, and the soft
 * RLIMIT_NOFILE of our own start.
 */
import { SystemError } from './errno.ts';
import { addressOf, bindRaw, closeDescriptor, cString, hasFunction, room } from './libc.ts';
import { duplicate } from './pipe.ts';
import { setLimit, startingFileLimit } from './rlimits.ts';

// Opaque to us; glibc's are 80 and 336 bytes, with room to grow.
const FILE_ACTIONS_BYTES = 512;
const ATTRIBUTES_BYTES = 1024;
const SIGSET_BYTES = 128;
const SETSIGDEF = 0x04;
const SETSIGMASK = 0x08;
const SETSID = 0x80;
const O_RDWR = 2;

const actionsInit = bindRaw('posix_spawn_file_actions_init', 'int', ['pointer']);
const actionsDestroy = bindRaw('posix_spawn_file_actions_destroy', 'int', ['pointer']);
const actionsDup2 = bindRaw('posix_spawn_file_actions_adddup2', 'int', ['pointer', 'int', 'int']);
const actionsOpen = bindRaw('posix_spawn_file_actions_addopen', 'int', ['pointer', 'int', 'pointer', 'int', 'uint']);
const actionsClose = bindRaw('posix_spawn_file_actions_addclose', 'int', ['pointer', 'int']);
// glibc 2.29 and 2.34. Without the second, descriptors that are not close-on-exec (none of ours) would pass.
const actionsChdir = optional('posix_spawn_file_actions_addchdir_np', ['pointer', 'pointer']);
const actionsCloseFrom = optional('posix_spawn_file_actions_addclosefrom_np', ['pointer', 'int']);
const attributesInit = bindRaw('posix_spawnattr_init', 'int', ['pointer']);
const attributesSetFlags = bindRaw('posix_spawnattr_setflags', 'int', ['pointer', 'int']);
const attributesSetDefault = bindRaw('posix_spawnattr_setsigdefault', 'int', ['pointer', 'pointer']);
const attributesSetMask = bindRaw('posix_spawnattr_setsigmask', 'int', ['pointer', 'pointer']);
const posixSpawn = bindRaw(
  'posix_spawn',
  'int',
  Array.from({ length: 6 }, () => 'pointer' as const),
);

function optional(name: string, parameters: readonly ('int' | 'pointer')[]) {
  return hasFunction(name) ? bindRaw(name, 'int', parameters) : undefined;
}

export interface SpawnRequest {
  /** Absolute: PATH is not searched. */
  readonly file: string;
  /** Without the program's own name. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string | undefined;
  /** Child's number -> ours, or `null` for /dev/null. 0, 1 and 2 that are not here are /dev/null too. */
  readonly descriptors: ReadonlyMap<number, number | null>;
}

/** Returns the child's PID; a program that can't be executed throws (ENOENT, EACCES, ...). The caller reaps. */
export function spawn(request: SpawnRequest): number {
  const wanted = new Map<number, number | null>([[0, null], [1, null], [2, null], ...request.descriptors]);
  const highest = Math.max(...wanted.keys());
  const actions = room(FILE_ACTIONS_BYTES);
  check(actionsInit(actions), 'posix_spawn_file_actions_init', request.file);
  const moved: number[] = [];
  try {
    for (const [child, ours] of wanted) {
      if (ours === null) {
        check(actionsOpen(actions, child, DEV_NULL, O_RDWR, 0), 'posix_spawn_file_actions_addopen', request.file);
        continue;
      }
      let source = ours;
      if (ours <= highest) {
        // It could be overwritten by an earlier action, or be its own target and stay close-on-exec.
        source = duplicate(ours, highest + 1);
        moved.push(source);
      }
      check(actionsDup2(actions, source, child), 'posix_spawn_file_actions_adddup2', request.file);
    }
    for (let fd = 3; fd < highest; fd++) if (!wanted.has(fd)) actionsClose(actions, fd);
    actionsCloseFrom?.(actions, highest + 1);
    if (request.cwd !== undefined) {
      if (actionsChdir === undefined)
        throw new SystemError(ENOSYS, 'posix_spawn', request.file, 'cwd needs glibc 2.29');
      check(actionsChdir(actions, cString(request.cwd)), 'posix_spawn_file_actions_addchdir_np', request.cwd);
    }
    const argv = stringTable([request.file, ...request.args]);
    const envp = stringTable(Object.entries(request.env).map(([name, value]) => `${name}=${value}`));
    const pid = room(4);
    check(
      posixSpawn(pid, cString(request.file), actions, attributes(), argv.pointers, envp.pointers),
      'posix_spawn',
      request.file,
    );
    return limited(pid.readInt32LE(0));
  } finally {
    actionsDestroy(actions);
    for (const fd of moved) closeDescriptor(fd);
  }
}

/** The child runs already, but it needs some hundred times longer to load than this call takes. */
function limited(pid: number): number {
  try {
    setLimit(pid, 'RLIMIT_NOFILE', startingFileLimit());
  } catch {
    // It may have ended, or become another user's.
  }
  return pid;
}

/** What every child gets; made once and kept. */
function attributes(): Buffer {
  if (shared) return shared;
  const made = room(ATTRIBUTES_BYTES);
  check(attributesInit(made), 'posix_spawnattr_init');
  check(attributesSetFlags(made, SETSIGDEF | SETSIGMASK | SETSID), 'posix_spawnattr_setflags');
  check(attributesSetDefault(made, room(SIGSET_BYTES).fill(0xff)), 'posix_spawnattr_setsigdefault');
  check(attributesSetMask(made, room(SIGSET_BYTES)), 'posix_spawnattr_setsigmask');
  shared = made;
  return made;
}

/** A NULL-terminated `char *[]` with its strings behind it, in one block that must outlive the call. */
export function stringTable(values: readonly string[]): { readonly pointers: Buffer } {
  const strings = values.map(cString);
  const tableBytes = (strings.length + 1) * 8;
  const block = room(tableBytes + strings.reduce((total, string) => total + string.length, 0));
  const base = addressOf(block);
  let at = tableBytes;
  for (const [index, string] of strings.entries()) {
    block.writeBigUInt64LE(base + BigInt(at), index * 8);
    block.set(string, at);
    at += string.length;
  }
  return { pointers: block };
}

/** The posix_spawn family returns the error instead of setting errno. */
function check(errno: number, call: string, path?: string): void {
  if (errno !== 0) throw new SystemError(errno, call, path);
}

const DEV_NULL = cString('/dev/null');
const ENOSYS = 38;
let shared: Buffer | undefined;

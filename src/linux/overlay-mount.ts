/**
 * Overlay mounts with up to 500 lower layers.
 *
 * mount(2) passes one page of options, too little for a long chain. Kernels from 6.7 take the layers one by one
 * (`lowerdir+` through fsconfig(2)); a value there holds 255 bytes, a longer path goes in as `/proc/self/fd/N`. Older
 * kernels get mount(2), with paths shortened through a descriptor of the layers' common directory when they fill the
 * page: about 150 layers fit.
 */

import { openat } from './at.ts';
import { SystemError } from './errno.ts';
import { AT_FDCWD, bind, bindRaw, closeDescriptor, cString, lastErrno, O_DIRECTORY, O_PATH, room } from './libc.ts';
import { MOUNT_DATA_BYTES_MAX, MountFlag, mount } from './mount.ts';

export interface OverlayMount {
  /** Top first; at least one, and at least two without `upper`. */
  readonly lower: readonly string[];
  /** Both or none; none mounts read-only. */
  readonly upper?: string;
  readonly work?: string;
  readonly target: string;
  readonly readonly?: boolean;
  /** More options (`volatile`, `userxattr`), after the ones that keep upper directories plain diffs. */
  readonly options?: readonly string[];
}

/** Without these an upper directory is only readable together with its lower ones. */
const PLAIN_DIFF = ['redirect_dir=nofollow', 'metacopy=off', 'index=off', 'xino=off'];

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_RDONLY = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const VALUE_BYTES_MAX = 255;

// One system call table for every architecture since 5.2; glibc has wrappers only from 2.36 on.
const SYS_MOVE_MOUNT = 429;
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
const fsopenCall = bind('syscall', ['long', 'pointer', 'long'], 'long');
const fsconfigCall = bindRaw('syscall', 'long', ['long', 'long', 'long', 'pointer', 'pointer', 'long']);
const fsmountCall = bind('syscall', ['long', 'long', 'long', 'long'], 'long');
const moveMountCall = bind('syscall', ['long', 'long', 'pointer', 'long', 'pointer', 'long'], 'long');
const readCall = bindRaw('read', 'long', ['int', 'pointer', 'long']);

let kernelAppends: boolean | undefined;

/** For workers, which may wait: making the work directory's parts touches the disk. */
export function mountOverlaySync(overlay: OverlayMount): void {
  using prepared = prepare(overlay);
  if (prepared === undefined) {
    mountOverlayByPage(overlay);
    return;
  }
  checked(prepared, overlay.target, fsconfigCall(SYS_FSCONFIG, prepared.context, FSCONFIG_CMD_CREATE, null, null, 0));
  attach(prepared, overlay);
}

/** The part that touches the disk runs in libuv's thread pool; the rest takes some microseconds a layer. */
export async function mountOverlay(overlay: OverlayMount): Promise<void> {
  using prepared = prepare(overlay);
  if (prepared === undefined) {
    mountOverlayByPage(overlay);
    return;
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  fsconfigCall.async(SYS_FSCONFIG, prepared.context, FSCONFIG_CMD_CREATE, null, null, 0, (_, result) => {
    try {
      resolve(checked(prepared, overlay.target, result));
    } catch (error) {
      reject(error);
    }
  });
  await promise;
  attach(prepared, overlay);
}

/** A file system context with every option set. Undefined when this kernel does not know `lowerdir+`. */
function prepare(overlay: OverlayMount): Descriptors | undefined {
  if (kernelAppends === false) return undefined;
  let context: number;
  try {
    context = fsopenCall('overlay', SYS_FSOPEN, cString('overlay'), FSOPEN_CLOEXEC);
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== 'ENOSYS') throw error;
    kernelAppends = false;
    return undefined;
  }
  const descriptors = new Descriptors(context);
  try {
    if ((kernelAppends === true || !collectsOptions()) && configureAll(descriptors, overlay)) return descriptors;
    kernelAppends = false;
  } catch (error) {
    descriptors[Symbol.dispose]();
    throw error;
  }
  descriptors[Symbol.dispose]();
  return undefined;
}

/**
 * Before 6.5 a context takes any key, and an unknown one fails the mount when the file system is made. Asked with a key
 * that no kernel knows, of a context that is thrown away with what it says of it.
 */
function collectsOptions(): boolean {
  using probe = new Descriptors(fsopenCall('overlay', SYS_FSOPEN, cString('overlay'), FSOPEN_CLOEXEC));
  const [key, value] = [cString('cairn-no-such-key'), cString('1')];
  return fsconfigCall(SYS_FSCONFIG, probe.context, FSCONFIG_SET_STRING, key, value, 0) === 0;
}

/** False when the kernel does not know `lowerdir+`. */
function configureAll(descriptors: Descriptors, overlay: OverlayMount): boolean {
  const configure = (command: number, key: string, value: string | null) => {
    const argument = value === null ? null : cString(value);
    const result = fsconfigCall(SYS_FSCONFIG, descriptors.context, command, cString(key), argument, 0);
    checked(descriptors, overlay.target, result, value === null ? key : `${key}=${value}`);
  };
  const set = (key: string, value: string) => configure(FSCONFIG_SET_STRING, key, descriptors.short(value));
  for (const path of overlay.lower) {
    try {
      set('lowerdir+', path);
    } catch (error) {
      // EINVAL for the first one ever, with the path in place: the key is unknown.
      if (kernelAppends === undefined && error instanceof SystemError && error.code === 'EINVAL') return false;
      throw error;
    }
    kernelAppends = true;
  }
  if (overlay.upper !== undefined) set('upperdir', overlay.upper);
  if (overlay.work !== undefined) set('workdir', overlay.work);
  for (const option of [...PLAIN_DIFF, ...(overlay.options ?? [])]) {
    const equals = option.indexOf('=');
    if (equals === -1) configure(FSCONFIG_SET_FLAG, option, null);
    else set(option.slice(0, equals), option.slice(equals + 1));
  }
  set('source', 'overlay');
  if (isReadonly(overlay)) configure(FSCONFIG_SET_FLAG, 'ro', null);
  return true;
}

/** Makes a mount of the context and puts it at its place. */
function attach(descriptors: Descriptors, overlay: OverlayMount): void {
  const attributes = isReadonly(overlay) ? MOUNT_ATTR_RDONLY : 0;
  const { context } = descriptors;
  const made = descriptors.own(fsmountCall(overlay.target, SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, attributes));
  const target = cString(overlay.target);
  moveMountCall(overlay.target, SYS_MOVE_MOUNT, made, cString(''), AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}

function isReadonly(overlay: OverlayMount): boolean {
  return overlay.readonly === true || overlay.upper === undefined;
}

/** Call it right after the system call: it reads errno. */
function checked(descriptors: Descriptors, target: string, result: number, what?: string): void {
  if (result !== -1) return;
  const errno = lastErrno();
  const detail = [what, ...kernelMessages(descriptors.context)].filter(Boolean).join(': ');
  throw new SystemError(errno, 'mount overlay', target, detail);
}

/** The kernel explains a failure in lines (`e overlay: ...`) that are read from the context. */
function kernelMessages(context: number): string[] {
  const lines: string[] = [];
  const line = room(1024);
  for (let length = 0; lines.length < 8; ) {
    length = readCall(context, line, line.length);
    if (length <= 0) break;
    lines.push(line.subarray(2, length).toString().trim());
  }
  return lines;
}

/** For kernels before 6.7. E2BIG when the layers don't fit the page even with short paths. */
export function mountOverlayByPage(overlay: OverlayMount): void {
  using descriptors = new Descriptors(undefined);
  const options = [...PLAIN_DIFF, ...(overlay.options ?? [])];
  if (overlay.upper !== undefined) options.push(`upperdir=${escapePath(overlay.upper)}`);
  if (overlay.work !== undefined) options.push(`workdir=${escapePath(overlay.work)}`);
  const data = (lower: readonly string[]) => [`lowerdir=${lower.map(escapeLower).join(':')}`, ...options].join(',');
  let text = data(overlay.lower);
  if (Buffer.byteLength(text) > MOUNT_DATA_BYTES_MAX) {
    const common = commonDirectory(overlay.lower);
    const short = descriptors.open(common);
    text = data(overlay.lower.map((path) => `${short}/${path.slice(common.length + 1)}`));
  }
  const flags = isReadonly(overlay) ? MountFlag.readonly : 0;
  try {
    mount({ source: 'overlay', target: overlay.target, type: 'overlay', flags, data: text });
  } catch (error) {
    // mount(2) does not say which directory it misses.
    const { lower, upper = [], work = [] } = overlay;
    if (error instanceof SystemError && error.code === 'ENOENT')
      for (const path of [lower, upper, work].flat()) descriptors.open(path);
    throw error;
  }
}

/** `,` ends an option, `:` a lower layer, and a backslash escapes. */
function escapePath(path: string): string {
  return path.replaceAll('\\', '\\\\').replaceAll(',', '\\,');
}

function escapeLower(path: string): string {
  return escapePath(path).replaceAll(':', '\\:');
}

/** The deepest directory that holds all of these absolute paths, without a slash at its end. */
export function commonDirectory(paths: readonly string[]): string {
  let common = paths[0]?.split('/').slice(0, -1) ?? [];
  for (const path of paths) {
    const parts = path.split('/').slice(0, -1);
    const differs = common.findIndex((part, index) => part !== parts[index]);
    if (differs !== -1) common = common.slice(0, differs);
  }
  return common.join('/');
}

/** Descriptors that are open for the length of one mount: the context of the file system, and long paths. */
class Descriptors implements Disposable {
  readonly #open: number[] = [];
  readonly #context: number | undefined;

  constructor(context: number | undefined) {
    this.#context = context;
    if (context !== undefined) this.#open.push(context);
  }

  get context(): number {
    if (this.#context === undefined) throw new Error('no file system context');
    return this.#context;
  }

  own(fd: number): number {
    this.#open.push(fd);
    return fd;
  }

  open(path: string): string {
    return `/proc/self/fd/${this.own(openat(AT_FDCWD, path, O_PATH | O_DIRECTORY))}`;
  }

  /** `path`, or a name for it that fits one value; also for a backslash, which some keys unescape and others don't. */
  short(path: string): string {
    return Buffer.byteLength(path) > VALUE_BYTES_MAX || path.includes('\\') ? this.open(path) : path;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open.reverse()) closeDescriptor(fd);
  }
}

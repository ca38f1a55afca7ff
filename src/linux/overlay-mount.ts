/**
 * Overlay mounts with up to 500 lower layers.
 *
 * mount(2) passes one page of options, too little for a long chain. Kernels from 6.5 take the layers one by one
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
const PLAIN_DIFF = ['redirect_dir=off', 'metacopy=off', 'index=off', 'xino=off'];

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

export function mountOverlay(overlay: OverlayMount): void {
  if (kernelAppends !== false) {
    if (mountByParts(overlay)) return;
    kernelAppends = false;
  }
  mountOverlayByPage(overlay);
}

/** False when this kernel does not know `lowerdir+`; then nothing has happened. */
function mountByParts(overlay: OverlayMount): boolean {
  using descriptors = new Descriptors();
  let context: number;
  try {
    context = descriptors.own(fsopenCall('overlay', SYS_FSOPEN, cString('overlay'), FSOPEN_CLOEXEC));
  } catch (error) {
    if (error instanceof SystemError && error.code === 'ENOSYS') return false;
    throw error;
  }
  const set = (key: string, value: string) =>
    configure(context, overlay.target, FSCONFIG_SET_STRING, key, descriptors.short(value));
  for (const path of overlay.lower) {
    try {
      set('lowerdir+', path);
    } catch (error) {
      // EINVAL for the first one, with the path in place: the key is unknown.
      if (kernelAppends === undefined && error instanceof SystemError && error.code === 'EINVAL') return false;
      throw error;
    }
    kernelAppends = true;
  }
  if (overlay.upper !== undefined) set('upperdir', overlay.upper);
  if (overlay.work !== undefined) set('workdir', overlay.work);
  for (const option of [...PLAIN_DIFF, ...(overlay.options ?? [])]) {
    const equals = option.indexOf('=');
    if (equals === -1) configure(context, overlay.target, FSCONFIG_SET_FLAG, option);
    else set(option.slice(0, equals), option.slice(equals + 1));
  }
  set('source', 'overlay');
  const readonly = overlay.readonly === true || overlay.upper === undefined;
  if (readonly) configure(context, overlay.target, FSCONFIG_SET_FLAG, 'ro');
  configure(context, overlay.target, FSCONFIG_CMD_CREATE);
  const attributes = readonly ? MOUNT_ATTR_RDONLY : 0;
  const made = descriptors.own(fsmountCall(overlay.target, SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, attributes));
  const target = cString(overlay.target);
  moveMountCall(overlay.target, SYS_MOVE_MOUNT, made, cString(''), AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  return true;
}

function configure(context: number, target: string, command: number, key?: string, value?: string): void {
  const text = (part: string | undefined) => (part === undefined ? null : cString(part));
  if (fsconfigCall(SYS_FSCONFIG, context, command, text(key), text(value), 0) !== -1) return;
  const errno = lastErrno();
  const what = key === undefined ? '' : value === undefined ? `${key}: ` : `${key}=${value}: `;
  throw new SystemError(errno, 'mount overlay', target, `${what}${kernelMessages(context)}`);
}

/** The kernel explains a failure in lines (`e overlay: ...`) that are read from the context. */
function kernelMessages(context: number): string {
  const lines: string[] = [];
  const line = room(1024);
  for (let length = 0; lines.length < 8; ) {
    length = readCall(context, line, line.length);
    if (length <= 0) break;
    lines.push(line.subarray(2, length).toString().trim());
  }
  return lines.join('; ');
}

/** For kernels before 6.5. E2BIG when the layers don't fit the page even with short paths. */
export function mountOverlayByPage(overlay: OverlayMount): void {
  using descriptors = new Descriptors();
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
  const flags = overlay.readonly === true || overlay.upper === undefined ? MountFlag.readonly : 0;
  mount({ source: 'overlay', target: overlay.target, type: 'overlay', flags, data: text });
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

/** Descriptors that are open for the length of one mount call. */
class Descriptors implements Disposable {
  readonly #open: number[] = [];

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

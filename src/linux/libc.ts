/**
 * The door to libc: typed bindings, paths, results.
 *
 * A pointer argument is a Buffer (or null), never a koffi struct: layouts are written down beside each use, and are the
 * same on x64 and arm64. A wrong offset kills the daemon, so every binding has a test against the kernel.
 */
import { constants } from 'node:fs';
import koffi from 'koffi';
import { SystemError } from './errno.ts';

/** A path, or a name in a directory, as text or as the bytes that the file system holds. */
export type PathLike = string | Uint8Array;
type CType = 'int' | 'uint' | 'long' | 'pointer';
export type Argument = number | bigint | Uint8Array | null;
/** Returns what the call returned; `bind` has turned -1 into a `SystemError`. */
export type SystemCall = (...args: Argument[]) => number;

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
// These two differ between x64 and arm64; Node knows the right ones.
export const { O_DIRECTORY, O_NOFOLLOW } = constants;

const library = koffi.load('libc.so.6');
const C_TYPES: Readonly<Record<CType, string>> = { int: 'int', uint: 'uint', long: 'long', pointer: 'void *' };

interface Binding {
  (...args: Argument[]): number;
  async(...args: [...Argument[], (error: unknown, result: number) => void]): void;
}

/** A libc function as it is: the caller looks at the result. */
export function bindRaw(name: string, result: 'int' | 'long', parameters: readonly CType[]): Binding {
  return library.func(
    name,
    result,
    parameters.map((type) => C_TYPES[type]),
  ) as unknown as Binding;
}

/** The errno of the last call; only right immediately after it. */
export function lastErrno(): number {
  return koffi.errno();
}

/** True when libc has the function (it may be newer than the host's). */
export function hasFunction(name: string): boolean {
  try {
    library.func(name, 'int', []);
    return true;
  } catch {
    return false;
  }
}

/** A call that returns -1 and sets errno when it fails; the failure is thrown with the path that `describe` names. */
export function bind(
  name: string,
  parameters: readonly CType[],
  result: 'int' | 'long' = 'int',
): (path: PathLike | undefined, ...args: Argument[]) => number {
  const binding = bindRaw(name, result, parameters);
  return (path, ...args) => {
    const value = binding(...args);
    if (value === -1) throw new SystemError(koffi.errno(), name, path === undefined ? undefined : pathText(path));
    return value;
  };
}

/** The same in libuv's thread pool, for calls that may wait for a disk. */
export function bindAsync(
  name: string,
  parameters: readonly CType[],
): (path: PathLike | undefined, ...args: Argument[]) => Promise<number> {
  const binding = bindRaw(name, 'int', parameters);
  return (path, ...args) =>
    new Promise((resolve, reject) => {
      binding.async(...args, (error, value) => {
        // koffi restores the errno of the pool's thread for this callback.
        const errno = koffi.errno();
        if (error) reject(error);
        else if (value === -1) reject(new SystemError(errno, name, path === undefined ? undefined : pathText(path)));
        else resolve(value);
      });
    });
}

/** A C string. A NUL inside would silently name another file, so it is refused. */
export function cString(value: PathLike): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(`${value}\0`) : Buffer.concat([value, NUL]);
  if (bytes.indexOf(0) !== bytes.length - 1) throw new SystemError(EINVAL, 'path', pathText(value), 'NUL in a path');
  return bytes;
}

export function pathText(value: PathLike): string {
  return typeof value === 'string' ? value : Buffer.from(value).toString();
}

/** Room whose address stays put as long as it is referenced. */
export function room(sizeBytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(sizeBytes));
}

/** The address of `buffer`, which must stay referenced while the kernel may use it. */
export function addressOf(buffer: Uint8Array): bigint {
  return koffi.address(buffer);
}

const NUL = Buffer.from([0]);
const EINVAL = 22;
const closeBinding = bindRaw('close', 'int', ['int']);

/** Closes a descriptor that a call of this module opened (Node's own `close` warns about strangers in workers). */
export function closeDescriptor(fd: number): void {
  // EINTR or EIO: Linux has released the descriptor all the same; EBADF would be a bug of ours.
  if (closeBinding(fd) === -1 && koffi.errno() === EBADF) throw new SystemError(EBADF, 'close', String(fd));
}

const EBADF = 9;

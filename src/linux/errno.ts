/**
 * A failed system call.
 *
 * It looks like Node's own system errors (`code`, `errno`, `syscall`, `path`), so that `errnoOf` and callers treat both
 * alike; `errno` is positive here, as the kernel's headers have it.
 */
import koffi from 'koffi';

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(koffi.os.errno).map(([name, value]) => [value, name] as const),
);
// Two names for one number: the kernel's manual speaks of the first.
const PREFERRED: ReadonlyMap<number, string> = new Map([
  [koffi.os.errno['EAGAIN'] ?? -1, 'EAGAIN'],
  [koffi.os.errno['EOPNOTSUPP'] ?? -1, 'EOPNOTSUPP'],
  [koffi.os.errno['EDEADLK'] ?? -1, 'EDEADLK'],
]);

/** `ENOENT` for 2. */
export function errnoName(errno: number): string {
  return PREFERRED.get(errno) ?? NAMES.get(errno) ?? `errno ${errno}`;
}

export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path: string | undefined;

  /** `detail`: what the kernel or we can add to the bare number. */
  constructor(errno: number, syscall: string, path?: string, detail?: string) {
    const code = errnoName(errno);
    const where = path === undefined ? '' : ` '${path}'`;
    super(`${code}: ${syscall}${where}${detail ? `: ${detail}` : ''}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    this.path = path;
  }
}

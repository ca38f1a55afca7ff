/** Where a configured program is: an absolute path as it stands, a name as PATH has it. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The absolute path of `program`. A name that is nowhere becomes its most likely path, so that the error appears where
 * the program is used, and with the name of a file: the daemon starts without a runtime, and doctor tells what is missing.
 */
export function findProgram(program: string, path = process.env['PATH'] ?? DEFAULT_PATH): string {
  if (program.startsWith('/')) return program;
  const candidates = `${path}${delimiter}${DEFAULT_PATH}`
    .split(delimiter)
    .filter((directory) => directory.startsWith('/'));
  return candidates.map((directory) => join(directory, program)).find(isExecutable) ?? join('/usr/bin', program);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

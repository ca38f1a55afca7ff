/** Where a container's log is. */
import { join, posix } from 'node:path';
import { CairnError } from '../base/errors.ts';

/** Empty without logs. InvalidArgument when `logPath` would leave the pod's log directory. */
export function containerLogPath(logDirectory: string, unsafeLogPath: string): string {
  if (logDirectory === '' || unsafeLogPath === '') return '';
  const relative = posix.normalize(unsafeLogPath);
  if (!posix.isAbsolute(relative) && relative !== '..' && !relative.startsWith('../') && !relative.endsWith('/')) {
    return join(logDirectory, relative);
  }
  const message = `log_path ${JSON.stringify(unsafeLogPath)} is no file below the pod's log directory`;
  throw new CairnError('InvalidArgument', message, { step: 'container.log' });
}

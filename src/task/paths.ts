/** Where a task keeps what: all below the state directory, which a reboot empties. */
import { join } from 'node:path';
import { CairnError } from '../base/errors.ts';

export interface TaskPaths {
  /** conmon's persist directory and our record; there as long as the task is. */
  readonly directory: string;
  readonly pidFile: string;
  readonly record: string;
  readonly runtimeLog: string;
  /** Empty file: conmon saw an OOM kill. */
  readonly oomFile: string;
  /** Why the exit code is not the process's own. */
  readonly reasonFile: string;
  readonly exitDirectory: string;
  /** The exit code in decimal; its time is the end. */
  readonly exitFile: string;
}

export function taskPaths(stateDirectory: string, id: string): TaskPaths {
  const directory = join(stateDirectory, 'tasks', id);
  const exitDirectory = join(stateDirectory, 'exits');
  return {
    directory,
    pidFile: join(directory, 'pid'),
    record: join(directory, 'task.json'),
    runtimeLog: join(directory, 'runtime.log'),
    oomFile: join(directory, 'oom'),
    reasonFile: join(directory, 'reason'),
    exitDirectory,
    exitFile: join(exitDirectory, id),
  };
}

/** IDs become file, cgroup and argument: only what can't mean anything else. A dot begins the ending of temporary files. */
export function checkTaskId(id: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}$/.test(id)) return;
  throw new CairnError('InvalidArgument', `${JSON.stringify(id)} is not a task ID`, { step: 'task.create' });
}

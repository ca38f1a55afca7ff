/** Changing the limits of a task that runs: through the runtime, which keeps its own book of them. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failpoint } from '../base/failpoint.ts';
import type { RuntimeHandler } from './index.ts';
import type { TaskPaths } from './paths.ts';
import { callRuntime } from './runtime.ts';

export async function updateTask(options: {
  readonly id: string;
  readonly runtime: RuntimeHandler;
  readonly paths: TaskPaths;
  /** `linux.resources` of the runtime spec. */
  readonly resources: object;
  readonly timeoutMs: number;
}): Promise<void> {
  const { id, runtime, paths, resources, timeoutMs } = options;
  const file = join(paths.directory, 'resources.json');
  await writeFile(file, JSON.stringify(resources), { mode: 0o600 });
  try {
    await failpoint('task.update');
    await callRuntime(runtime, {
      verb: 'update',
      args: ['--resources', file, id],
      logPath: paths.runtimeLog,
      timeoutMs,
    });
  } finally {
    await rm(file, { force: true });
  }
}

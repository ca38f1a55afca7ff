/** Starts a created container: its monitor, its processes. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { failpoint } from '../base/failpoint.ts';
import { stage } from '../base/stages.ts';
import type { Pod } from '../pods/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import type { TaskService, TaskSpec } from '../task/index.ts';
import { isRootfsMounted, readSpec, rootfsPath } from './bundle.ts';
import type { ContainerRecord } from './records.ts';
import { giveStdio, stdioOwner } from './stdio-owner.ts';
import { mountVolumes } from './volumes.ts';

export interface StartContext {
  readonly task: TaskService;
  readonly snapshotter: Snapshotter;
  readonly pod: Pod;
  taskSpec(record: ContainerRecord): TaskSpec;
}

/** The PID of the container's first process, which runs when it returns. */
export async function startTask(record: ContainerRecord, context: StartContext, signal: AbortSignal): Promise<number> {
  const { task, snapshotter, pod } = context;
  // Mounted since the creation, unless somebody took it away.
  const userNamespace = pod.namespaces.user;
  await stage('container.mounts', async () => {
    if (!(await isRootfsMounted(record.directory))) {
      await snapshotter.mount(record.id, rootfsPath(record.directory), { userNamespace });
    }
    await mountVolumes(record, userNamespace, snapshotter);
    if (record.logPath !== '') await mkdir(dirname(record.logPath), { recursive: true, mode: 0o755 });
  });
  const spec = context.taskSpec(record);
  await failpoint('container.task.create');
  const { pid } = await task.create(spec, signal);
  if (userNamespace !== undefined) await giveStdio(pid, stdioOwner(await readSpec(record)));
  await failpoint('container.task.start');
  await task.start(spec);
  await failpoint('container.task.started');
  return pid;
}

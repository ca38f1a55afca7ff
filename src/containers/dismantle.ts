/**
 * Takes apart what a container is made of, in the reverse order of its making. One way for all: the undoing of a failed or
 * interrupted creation, the clean-up after the end, and the removal. Every step is safe to repeat.
 */
import { failpoint } from '../base/failpoint.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import type { TaskService, TaskSpec } from '../task/index.ts';
import { removeBundle, rootfsPath } from './bundle.ts';
import type { ContainerRecord } from './records.ts';
import { removeVolumes, unmountVolumes } from './volumes.ts';

export interface DismantleContext {
  readonly task: TaskService;
  readonly snapshotter: Snapshotter;
  taskSpec(record: ContainerRecord): TaskSpec;
}

/** After the end: no process, no cgroup, nothing mounted. What is left is the writable layer, the log and the row. */
export async function releaseProcesses(record: ContainerRecord, context: DismantleContext): Promise<void> {
  const { task, snapshotter } = context;
  // This ends what outlived the first process: in somebody else's PID namespace the kernel does not.
  await failpoint('container.task.delete');
  await task.delete(context.taskSpec(record));
  await failpoint('container.rootfs.unmount');
  await unmountAll(record, snapshotter);
}

/** All the rest, once there is no process. */
export async function removeFiles(record: ContainerRecord, { snapshotter }: DismantleContext): Promise<void> {
  await unmountAll(record, snapshotter);
  await failpoint('container.snapshot.remove');
  await removeVolumes(record, snapshotter);
  await snapshotter.remove(record.id);
  await removeBundle(record.directory);
}

async function unmountAll(record: ContainerRecord, snapshotter: Snapshotter): Promise<void> {
  await unmountVolumes(record, snapshotter);
  await snapshotter.unmount(rootfsPath(record.directory));
}

export function sharesPidNamespace({ config }: ContainerRecord): boolean {
  return config.security.pid.mode !== 'container';
}

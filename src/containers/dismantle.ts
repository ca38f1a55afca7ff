/**
 * Takes apart what a container is made of, in the reverse order of its making. One way for all: the undoing of a failed or
 * interrupted creation, the clean-up after the end, and the removal. Every step is safe to repeat.
 */
import { failpoint } from '../base/failpoint.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import type { TaskService, TaskSpec } from '../task/index.ts';
import { removeBundle, rootfsPath } from './bundle.ts';
import type { ContainerRecord } from './records.ts';

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
  await snapshotter.unmount(rootfsPath(record.directory));
}

/** All the rest, once there is no process. */
export async function removeFiles(record: ContainerRecord, { snapshotter }: DismantleContext): Promise<void> {
  await snapshotter.unmount(rootfsPath(record.directory));
  await failpoint('container.snapshot.remove');
  await snapshotter.remove(record.id);
  await removeBundle(record.directory);
}

export function sharesPidNamespace({ config }: ContainerRecord): boolean {
  return config.security.pid.mode !== 'container';
}

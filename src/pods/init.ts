/**
 * The init process of a pod that shares one PID namespace: a task with the pod's ID. Its PID namespace is pinned beside the
 * others, so that a path to it can't come to mean another process's when the PID is used again.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failpoint } from '../base/failpoint.ts';
import { bindMount } from '../linux/index.ts';
import type { RuntimeHandler, TaskExit, TaskService, TaskSpec } from '../task/index.ts';
import { type CgroupDriver, cgroupsPath } from './cgroup.ts';
import { podRoot } from './files.ts';
import type { Pod } from './index.ts';
import type { InitRoot } from './init-root.ts';
import { INIT_OOM_SCORE_ADJ, initSpec } from './init-spec.ts';
import type { PodRecord } from './records.ts';
import { runtimeNamed } from './runtime-name.ts';

export interface InitOptions {
  readonly task: TaskService;
  readonly root: InitRoot;
  readonly runtimes: ReadonlyMap<string, RuntimeHandler>;
  readonly cgroupDriver: CgroupDriver;
  readonly oomScoreAdjMin: number;
}

export class PodInit {
  readonly #options: InitOptions;

  constructor(options: InitOptions) {
    this.#options = options;
  }

  /** Starts the process and pins its namespace at `pidPath`. */
  async start(record: PodRecord, namespaces: Pod['namespaces'], pidPath: string, signal?: AbortSignal): Promise<void> {
    const { task, root, oomScoreAdjMin } = this.#options;
    const spec = this.taskSpec(record);
    const rootPath = join(spec.bundle, 'rootfs');
    const { userNamespace } = record.config;
    const user = { path: namespaces.user, root: podRoot(record.config) };
    const program = await root.prepare(record.id, rootPath, user, signal);
    const oomScoreAdj = Math.max(INIT_OOM_SCORE_ADJ, oomScoreAdjMin);
    const { cgroupsPath } = spec;
    const config = initSpec({ namespaces, rootPath, ...program, userNamespace, cgroupsPath, oomScoreAdj });
    await writeFile(join(spec.bundle, 'config.json'), JSON.stringify(config), { mode: 0o600 });
    await failpoint('pod.init.create');
    const { pid } = await task.create(spec, signal);
    await failpoint('pod.init.start');
    await task.start(spec);
    await writeFile(pidPath, '');
    bindMount(`/proc/${pid}/ns/pid`, pidPath);
  }

  /** True when it runs (and is watched again, after a restart). */
  async recover(record: PodRecord): Promise<boolean> {
    const found = await this.#options.task.recover(this.taskSpec(record));
    return found?.running !== undefined;
  }

  wait(id: string): Promise<TaskExit> {
    return this.#options.task.wait(id);
  }

  /** Kills it and removes what it had. Safe to repeat. */
  async remove(record: PodRecord): Promise<void> {
    const spec = this.taskSpec(record);
    await failpoint('pod.init.delete');
    await this.#options.task.delete(spec);
    await this.#options.root.release(record.id, join(spec.bundle, 'rootfs'));
  }

  taskSpec(record: PodRecord): TaskSpec {
    const { runtimes, cgroupDriver } = this.#options;
    return {
      id: record.id,
      runtime: runtimeNamed(runtimes, record.runtimeName),
      bundle: join(record.directory, 'init'),
      logPath: undefined,
      logSizeBytesMax: undefined,
      stdin: false,
      stdinOnce: false,
      terminal: false,
      cgroupsPath: cgroupsPath(cgroupDriver, record.config.cgroupParent, record.id),
    };
  }
}

/** The commands that this daemon runs in containers now. Disposing ends them all. */
import { join } from 'node:path';
import { CairnError } from '../base/errors.ts';
import { containerCgroup } from './cgroups.ts';
import type { DetachedExecRequest } from './detached-exec.ts';
import { execInTask } from './exec.ts';
import type { ExecResult, OpenExec, OpenExecOptions, StdioOwner, TaskSpec } from './index.ts';
import { openExecInTask } from './open-exec.ts';

export interface ExecTarget {
  readonly spec: TaskSpec;
  readonly paths: { readonly directory: string };
}

export interface ExecOptions {
  readonly timeoutMs: number;
  readonly outputBytesMax: number;
  readonly signal?: AbortSignal;
  readonly stdioOwner?: StdioOwner | undefined;
}

export class Execs implements AsyncDisposable {
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #open = new Set<OpenExec>();
  #count = 0;

  run(target: ExecTarget, process: object, options: ExecOptions): Promise<ExecResult> {
    return this.#track(
      execInTask({
        ...options,
        ...this.#request(target, process, options.stdioOwner),
        signal: this.#signal(options.signal),
      }),
    );
  }

  async open(target: ExecTarget, process: object, options: OpenExecOptions): Promise<OpenExec> {
    const signal = this.#signal(options.signal);
    const exec = await this.#track(
      openExecInTask({ ...this.#request(target, process, options.stdioOwner), options: { ...options, signal } }),
    );
    const tracked: OpenExec = {
      ...exec,
      [Symbol.asyncDispose]: async () => {
        this.#open.delete(tracked);
        await exec[Symbol.asyncDispose]();
      },
    };
    this.#open.add(tracked);
    return tracked;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new CairnError('Cancelled', 'the daemon stops', { step: 'task.close' }));
    await Promise.allSettled(this.#running);
    await Promise.allSettled(Array.from(this.#open, (exec) => exec[Symbol.asyncDispose]()));
  }

  #request({ spec, paths }: ExecTarget, process: object, stdioOwner: StdioOwner | undefined): DetachedExecRequest {
    const name = `${globalThis.process.pid}-${++this.#count}`;
    const cgroup = containerCgroup(spec.cgroupsPath);
    const scratch = join(paths.directory, `exec-${name}`);
    return { runtime: spec.runtime, id: spec.id, cgroup, process, scratch, name, stdioOwner };
  }

  #signal(signal: AbortSignal | undefined): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
  }

  async #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }
}

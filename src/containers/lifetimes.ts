/**
 * The running containers: who waits for their end, and what happens then.
 *
 * Each running container has one watcher. When its task ends, the row says so first, then what the processes held is
 * released; `ended` resolves after the first, `released` after the second.
 */
import { isCairnError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { TaskExit, TaskService } from '../task/index.ts';
import { type DismantleContext, releaseProcesses } from './dismantle.ts';
import { exitedRecord } from './exit.ts';
import type { ContainerRecord, ContainerRecords } from './records.ts';
import type { ContainerTransitions } from './transition.ts';

interface Lifetime {
  readonly ended: Promise<void>;
  readonly released: Promise<void>;
}

export class Lifetimes {
  readonly #task: TaskService;
  readonly #records: ContainerRecords;
  readonly #transitions: ContainerTransitions;
  readonly #dismantle: DismantleContext;
  readonly #log: Logger;
  readonly #byId = new Map<string, Lifetime>();
  /** Ended containers whose processes were released by this daemon. */
  readonly #released = new Set<string>();
  #disposed = false;

  constructor(options: {
    task: TaskService;
    records: ContainerRecords;
    transitions: ContainerTransitions;
    dismantle: DismantleContext;
    log: Logger;
  }) {
    this.#task = options.task;
    this.#records = options.records;
    this.#transitions = options.transitions;
    this.#dismantle = options.dismantle;
    this.#log = options.log;
  }

  /** Watches a container that runs. */
  watch(record: ContainerRecord): void {
    const ended = this.#task.wait(record.id).then((exit) => this.#ended(record.id, exit));
    const released = ended.then(() => this.release(record));
    this.#byId.set(record.id, { ended, released });
    for (const promise of [ended, released]) {
      promise.catch((error: unknown) => {
        if (this.#disposed) return;
        this.#log.error({ container: record.id, err: error }, `the end of a container: ${messageOf(error)}`);
      });
    }
  }

  /** Resolves when the row says `exited`; at once for a container that is not watched. */
  ended(id: string): Promise<void> {
    return this.#byId.get(id)?.ended ?? Promise.resolve();
  }

  /** Waits until an ended container holds no process, cgroup or mount any more, and sees to it if nobody has. */
  async released(record: ContainerRecord): Promise<void> {
    try {
      await this.#byId.get(record.id)?.released;
    } catch (error) {
      // It was logged; a removal tries once more.
      if (!isCairnError(error)) this.#log.debug({ container: record.id, err: error }, 'released again');
    }
    if (!this.#released.has(record.id)) await this.release(record);
  }

  async release(record: ContainerRecord): Promise<void> {
    await releaseProcesses(record, this.#dismantle);
    this.#released.add(record.id);
  }

  forget(id: string): void {
    this.#byId.delete(id);
    this.#released.delete(id);
  }

  /** From here on nothing is written any more: the containers live on without us. */
  dispose(): void {
    this.#disposed = true;
  }

  async #ended(id: string, exit: TaskExit): Promise<void> {
    const record = this.#records.find(id);
    if (this.#disposed || record?.state !== 'running') return;
    await this.#transitions.change(exitedRecord(record, exit));
  }
}

/** Every change of a container's state goes through here: the row, then the log, the metrics and whoever listens. */
import { CairnError } from '../base/errors.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/log.ts';
import { series } from '../base/metrics.ts';
import type { ContainerState } from './index.ts';
import type { ContainerRecord, ContainerRecords } from './records.ts';

/** A change that has happened and is durable. `from` is undefined for a new container, `to` is `removed` for a gone one. */
export interface ContainerTransition {
  readonly id: string;
  readonly podId: string;
  readonly from: ContainerState | undefined;
  readonly to: ContainerState | 'removed';
  readonly atNs: bigint;
}

const ALLOWED: Readonly<Record<ContainerState, readonly (ContainerState | 'removed')[]>> = {
  creating: ['created', 'removed'],
  created: ['running', 'exited', 'removed'],
  running: ['exited'],
  exited: ['removed'],
};

export class ContainerTransitions {
  readonly #records: ContainerRecords;
  readonly #log: Logger;
  readonly #listeners: Listeners<ContainerTransition>;

  constructor(records: ContainerRecords, log: Logger) {
    this.#records = records;
    this.#log = log;
    this.#listeners = new Listeners(log);
    for (const { state } of records.all()) series.containers.inc({ state });
  }

  onTransition(listener: (transition: ContainerTransition) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** A new container, in state `creating`. AlreadyExists when its identity is taken. */
  async begin(record: ContainerRecord): Promise<void> {
    await this.#records.insert(record);
    this.#announce(record, undefined, record.state);
  }

  /** Replaces the record; its state must be one that follows. */
  async change(record: ContainerRecord): Promise<ContainerRecord> {
    const from = this.#check(record.id, record.state);
    await this.#records.update(record);
    this.#announce(record, from, record.state);
    return record;
  }

  async remove(id: string): Promise<void> {
    const from = this.#check(id, 'removed');
    const record = this.#records.get(id);
    await this.#records.delete(id);
    this.#announce(record, from, 'removed');
  }

  #check(id: string, to: ContainerState | 'removed'): ContainerState {
    const from = this.#records.get(id).state;
    if (ALLOWED[from].includes(to)) return from;
    throw new CairnError('FailedPrecondition', `container ${id} is ${from} and can't become ${to}`, {
      step: 'container.transition',
    });
  }

  #announce(record: ContainerRecord, from: ContainerState | undefined, to: ContainerState | 'removed'): void {
    const { id, podId, config, exitCode, reason } = record;
    if (from !== undefined) series.containers.dec({ state: from });
    if (to !== 'removed') series.containers.inc({ state: to });
    const end = to === 'exited' ? { exitCode, reason } : {};
    this.#log.info({ container: id, pod: podId, name: config.name, from, to, ...end }, `container is ${to}`);
    this.#listeners.emit({ id, podId, from, to, atNs: BigInt(Date.now()) * 1_000_000n });
  }
}

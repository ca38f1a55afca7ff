/** Every change of a pod's state goes through here: the row, then the log, the metrics and whoever listens. */
import { CairnError } from '../base/errors.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/log.ts';
import { series } from '../base/metrics.ts';
import type { PodState } from './index.ts';
import type { PodRecord, PodRecords } from './records.ts';

/** A change that has happened and is durable. `from` is undefined for a new pod, `to` is `removed` for a gone one. */
export interface PodTransition {
  readonly id: string;
  readonly from: PodState | undefined;
  readonly to: PodState | 'removed';
  readonly atNs: bigint;
}

const ALLOWED: Readonly<Record<PodState, readonly (PodState | 'removed')[]>> = {
  creating: ['ready', 'notready', 'removed'],
  ready: ['notready'],
  notready: ['removed'],
};

export class PodTransitions {
  readonly #records: PodRecords;
  readonly #log: Logger;
  readonly #listeners: Listeners<PodTransition>;

  constructor(records: PodRecords, log: Logger) {
    this.#records = records;
    this.#log = log;
    this.#listeners = new Listeners(log);
    for (const { state } of records.all()) series.sandboxes.inc({ state });
  }

  onTransition(listener: (transition: PodTransition) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** A new pod, in state `creating`. AlreadyExists when its identity is taken. */
  async begin(record: PodRecord): Promise<void> {
    await this.#records.insert(record);
    this.#announce(record.id, undefined, record.state);
  }

  /** Replaces the record; its state must be one that follows. */
  async change(record: PodRecord): Promise<PodRecord> {
    const from = this.#check(record.id, record.state);
    await this.#records.update(record);
    this.#announce(record.id, from, record.state);
    return record;
  }

  async remove(id: string): Promise<void> {
    const from = this.#check(id, 'removed');
    await this.#records.delete(id);
    this.#announce(id, from, 'removed');
  }

  #check(id: string, to: PodState | 'removed'): PodState {
    const from = this.#records.get(id).state;
    if (ALLOWED[from].includes(to)) return from;
    throw new CairnError('FailedPrecondition', `pod ${id} is ${from} and can't become ${to}`, {
      step: 'pod.transition',
    });
  }

  #announce(id: string, from: PodState | undefined, to: PodState | 'removed'): void {
    if (from !== undefined) series.sandboxes.dec({ state: from });
    if (to !== 'removed') series.sandboxes.inc({ state: to });
    this.#log.info({ pod: id, from, to }, `pod is ${to}`);
    this.#listeners.emit({ id, from, to, atNs: BigInt(Date.now()) * 1_000_000n });
  }
}

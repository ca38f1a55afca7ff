/**
 * The rows of the `pods` table, with all of them in memory: a read costs nothing, a write is durable before it shows.
 * Only an insert shows at once, so that nobody can take the same identity while its commit is under way.
 */
import { CairnError } from '../base/errors.ts';
import type { Row, Store } from '../store/index.ts';
import type { Pod, PodConfig, PodFilter, PodMetadata, PodState } from './index.ts';

/** A pod and what only this module needs to know of it. */
export interface PodRecord extends Pod {
  /** The runtime handler in effect: `config.runtimeHandler` may be empty. */
  readonly runtimeName: string;
  /** The boot of the host that this sandbox lives in. */
  readonly bootId: string;
}

interface PodData {
  readonly config: PodConfig;
  readonly createdAtNs: string;
  readonly ips: readonly string[];
  readonly namespaces: Partial<Record<keyof Pod['namespaces'], string>>;
  readonly directory: string;
  readonly networkResult?: unknown;
  readonly runtimeName: string;
  readonly bootId: string;
}

export class PodRecords {
  readonly #store: Store;
  readonly #byId = new Map<string, PodRecord>();
  readonly #idByIdentity = new Map<string, string>();

  constructor(store: Store) {
    this.#store = store;
    for (const row of store.all('SELECT id, state, data FROM pods')) this.#remember(fromRow(row));
  }

  async insert(record: PodRecord): Promise<void> {
    const identity = podIdentity(record.config.metadata);
    const owner = this.#idByIdentity.get(identity);
    if (owner !== undefined) throw taken(record.config.metadata, this.get(owner));
    this.#remember(record);
    try {
      const { id, state } = record;
      await this.#store.transaction((tx) =>
        tx.run('INSERT INTO pods (id, state, identity, data) VALUES (?, ?, ?, ?)', id, state, identity, toData(record)),
      );
    } catch (error) {
      this.#forget(record);
      throw error;
    }
  }

  async update(record: PodRecord): Promise<void> {
    const { id, state } = record;
    await this.#store.transaction((tx) =>
      tx.run('UPDATE pods SET state = ?, data = ? WHERE id = ?', state, toData(record), id),
    );
    this.#byId.set(id, record);
  }

  async delete(id: string): Promise<void> {
    await this.#store.transaction((tx) => tx.run('DELETE FROM pods WHERE id = ?', id));
    const record = this.#byId.get(id);
    if (record) this.#forget(record);
  }

  /** By full ID or unambiguous prefix. NotFound, InvalidArgument. */
  get(idOrPrefix: string): PodRecord {
    const found = this.find(idOrPrefix);
    if (found) return found;
    throw new CairnError('NotFound', `no pod sandbox ${JSON.stringify(idOrPrefix)}`, { step: 'pod.find' });
  }

  /** As `get`, but undefined when there is none. */
  find(idOrPrefix: string): PodRecord | undefined {
    const exact = this.#byId.get(idOrPrefix);
    if (exact || idOrPrefix === '') return exact;
    const [first, second] = this.#byId.values().filter((record) => record.id.startsWith(idOrPrefix));
    if (second === undefined) return first;
    const message = `pod sandbox ID prefix ${JSON.stringify(idOrPrefix)} is ambiguous`;
    throw new CairnError('InvalidArgument', message, { step: 'pod.find' });
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  all(): PodRecord[] {
    return [...this.#byId.values()];
  }

  /** A pod that is still being made is listed only to those who ask for that state. */
  list(filter: PodFilter): PodRecord[] {
    const labels = Object.entries(filter.labels ?? {});
    return this.all().filter(
      (record) =>
        record.id.startsWith(filter.id ?? '') &&
        (filter.state === undefined ? record.state !== 'creating' : record.state === filter.state) &&
        labels.every(([key, value]) => record.config.labels[key] === value),
    );
  }

  #remember(record: PodRecord): void {
    this.#byId.set(record.id, record);
    this.#idByIdentity.set(podIdentity(record.config.metadata), record.id);
  }

  #forget(record: PodRecord): void {
    this.#byId.delete(record.id);
    this.#idByIdentity.delete(podIdentity(record.config.metadata));
  }
}

/** JSON, because a name may hold any separator that we could choose. */
export function podIdentity({ name, namespace, uid, attempt }: PodMetadata): string {
  return JSON.stringify([name, namespace, uid, attempt]);
}

function taken(metadata: PodMetadata, owner: PodRecord): CairnError {
  const { name, namespace, attempt } = metadata;
  const message = `pod ${namespace}/${name}, attempt ${attempt}, exists: sandbox ${owner.id} (${owner.state})`;
  return new CairnError('AlreadyExists', message, { step: 'pod.reserve' });
}

function toData(record: PodRecord): string {
  const { config, createdAtNs, ips, namespaces, directory, networkResult, runtimeName, bootId } = record;
  const data = {
    config,
    createdAtNs: `${createdAtNs}`,
    ips,
    namespaces,
    directory,
    networkResult,
    runtimeName,
    bootId,
  };
  return JSON.stringify(data);
}

function fromRow(row: Row): PodRecord {
  const data = JSON.parse(String(row['data'])) as PodData;
  const { network, ipc, uts, pid, user } = data.namespaces;
  return {
    ...data,
    id: String(row['id']),
    state: String(row['state']) as PodState,
    createdAtNs: BigInt(data.createdAtNs),
    namespaces: { network, ipc, uts, pid, user },
    networkResult: data.networkResult,
  };
}

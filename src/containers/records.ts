/**
 * The rows of the `containers` table, with all of them in memory: a read costs nothing, a write is durable before it shows.
 * Only an insert shows at once, so that nobody can take the same identity while its commit is under way.
 */
import { CairnError } from '../base/errors.ts';
import type { Row, Store } from '../store/index.ts';
import type { Container, ContainerConfig, ContainerFilter, ContainerState, ContainerUser, Resources } from './index.ts';

/** A container and what only this module needs to know of it. */
export interface ContainerRecord extends Container {
  readonly runtimeName: string;
  readonly cgroupsPath: string;
  /** Number of the signal that asks it to end. */
  readonly stopSignal: number;
  /** The bundle: `config.json` and `rootfs/`. */
  readonly directory: string;
  /** VOLUMEs of its image: absolute paths in the container. */
  readonly ownVolumes: readonly string[];
  /** The boot of the host that its processes belong to; empty before the start. */
  readonly bootId: string;
}

/** The `data` column. `imageId` is read by the image service as well. */
interface ContainerData {
  readonly config: ContainerConfig;
  readonly resources: Resources;
  readonly imageId: string;
  readonly volumeImageIds: readonly string[];
  readonly createdAtNs: string;
  readonly startedAtNs: string;
  readonly finishedAtNs: string;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
  readonly logPath: string;
  readonly user?: ContainerUser;
  readonly pid?: number;
  readonly runtimeName: string;
  readonly cgroupsPath: string;
  readonly stopSignal: number;
  readonly directory: string;
  readonly ownVolumes: readonly string[];
  readonly bootId: string;
}

export class ContainerRecords {
  readonly #store: Store;
  readonly #byId = new Map<string, ContainerRecord>();
  readonly #idByIdentity = new Map<string, string>();

  constructor(store: Store) {
    this.#store = store;
    for (const row of store.all('SELECT id, pod_id, state, data FROM containers')) this.#remember(fromRow(row));
  }

  async insert(record: ContainerRecord): Promise<void> {
    const identity = containerIdentity(record);
    const owner = this.#idByIdentity.get(identity);
    if (owner !== undefined) throw taken(record, this.get(owner));
    this.#remember(record);
    try {
      const { id, podId, state } = record;
      const sql = 'INSERT INTO containers (id, pod_id, state, identity, data) VALUES (?, ?, ?, ?, ?)';
      await this.#store.transaction((tx) => tx.run(sql, id, podId, state, identity, toData(record)));
    } catch (error) {
      this.#forget(record);
      throw error;
    }
  }

  async update(record: ContainerRecord): Promise<void> {
    const { id, state } = record;
    await this.#store.transaction((tx) =>
      tx.run('UPDATE containers SET state = ?, data = ? WHERE id = ?', state, toData(record), id),
    );
    this.#byId.set(id, record);
  }

  /** As `update`, but of the resources alone: the container may change its state meanwhile. */
  async updateResources(id: string, resources: Resources): Promise<void> {
    const sql = "UPDATE containers SET data = json_set(data, '$.resources', json(?)) WHERE id = ?";
    await this.#store.transaction((tx) => tx.run(sql, JSON.stringify(resources), id));
    const record = this.#byId.get(id);
    if (record) this.#byId.set(id, { ...record, resources });
  }

  async delete(id: string): Promise<void> {
    await this.#store.transaction((tx) => tx.run('DELETE FROM containers WHERE id = ?', id));
    const record = this.#byId.get(id);
    if (record) this.#forget(record);
  }

  /** By full ID or unambiguous prefix. NotFound, InvalidArgument. */
  get(idOrPrefix: string): ContainerRecord {
    const found = this.find(idOrPrefix);
    if (found) return found;
    throw new CairnError('NotFound', `no container ${JSON.stringify(idOrPrefix)}`, { step: 'container.find' });
  }

  /** As `get`, but undefined when there is none. */
  find(idOrPrefix: string): ContainerRecord | undefined {
    const exact = this.#byId.get(idOrPrefix);
    if (exact || idOrPrefix === '') return exact;
    const [first, second] = this.#byId.values().filter((record) => record.id.startsWith(idOrPrefix));
    if (second === undefined) return first;
    const message = `container ID prefix ${JSON.stringify(idOrPrefix)} is ambiguous`;
    throw new CairnError('InvalidArgument', message, { step: 'container.find' });
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  all(): ContainerRecord[] {
    return [...this.#byId.values()];
  }

  ofPod(podId: string): ContainerRecord[] {
    return this.all().filter((record) => record.podId === podId);
  }

  /** A container that is still being made is listed only to those who ask for that state. */
  list(filter: ContainerFilter): ContainerRecord[] {
    const labels = Object.entries(filter.labels ?? {});
    return this.all().filter(
      (record) =>
        record.id.startsWith(filter.id ?? '') &&
        record.podId.startsWith(filter.podId ?? '') &&
        (filter.state === undefined ? record.state !== 'creating' : record.state === filter.state) &&
        labels.every(([key, value]) => record.config.labels[key] === value),
    );
  }

  #remember(record: ContainerRecord): void {
    this.#byId.set(record.id, record);
    this.#idByIdentity.set(containerIdentity(record), record.id);
  }

  #forget(record: ContainerRecord): void {
    this.#byId.delete(record.id);
    this.#idByIdentity.delete(containerIdentity(record));
  }
}

/** JSON, because a name may hold any separator that we could choose. */
export function containerIdentity({ podId, config }: Pick<ContainerRecord, 'podId' | 'config'>): string {
  return JSON.stringify([podId, config.name, config.attempt]);
}

function taken({ config }: ContainerRecord, owner: ContainerRecord): CairnError {
  const message = `container ${config.name}, attempt ${config.attempt}, exists in its pod: ${owner.id} (${owner.state})`;
  return new CairnError('AlreadyExists', message, { step: 'container.reserve' });
}

function toData(record: ContainerRecord): string {
  const { id: _id, podId: _podId, state: _state, createdAtNs, startedAtNs, finishedAtNs, pid, user, ...rest } = record;
  const data: ContainerData = {
    ...rest,
    createdAtNs: `${createdAtNs}`,
    startedAtNs: `${startedAtNs}`,
    finishedAtNs: `${finishedAtNs}`,
    ...(pid === undefined ? {} : { pid }),
    ...(user === undefined ? {} : { user }),
  };
  return JSON.stringify(data);
}

function fromRow(row: Row): ContainerRecord {
  const data = JSON.parse(String(row['data'])) as ContainerData;
  return {
    ...data,
    id: String(row['id']),
    podId: String(row['pod_id']),
    state: String(row['state']) as ContainerState,
    createdAtNs: BigInt(data.createdAtNs),
    startedAtNs: BigInt(data.startedAtNs),
    finishedAtNs: BigInt(data.finishedAtNs),
    pid: data.pid,
    user: data.user,
  };
}

/** Removing committed snapshots that nobody needs. */
import { failpoint } from '../base/failpoint.ts';
import type { SnapshotContext } from './context.ts';
import { allSnapshots, childrenOf, deleteSnapshot, type SnapshotRow } from './rows.ts';

const INIT_PREFIX = 'init/';

export function initLayerName(parent: string | undefined): string {
  return `${INIT_PREFIX}${parent ?? 'none'}`;
}

/** Snapshots that are needed although no row says so: refcounts by name. */
export class Pins {
  readonly #counts = new Map<string, number>();

  pin(names: readonly string[]): Disposable {
    for (const name of names) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        for (const name of names) this.#unpin(name);
      },
    };
  }

  has(name: string): boolean {
    return this.#counts.has(name);
  }

  #unpin(name: string): void {
    const count = (this.#counts.get(name) ?? 0) - 1;
    if (count > 0) this.#counts.set(name, count);
    else this.#counts.delete(name);
  }
}

/** Removes what is unneeded, from the tops of the chains down. Returns the bytes that were freed. */
export async function collectSnapshots(
  context: SnapshotContext,
  used: ReadonlySet<string>,
  pins: Pins,
): Promise<number> {
  let freedBytes = 0;
  // A snapshot can go once its children are gone, and they have the higher numbers.
  for (const row of allSnapshots(context.store).toReversed()) {
    if (row.kind !== 'committed' || isNeeded(row.name, used, pins)) continue;
    if (await removeRow(context, row)) freedBytes += row.usage?.sizeBytes ?? 0;
  }
  await context.trash.emptied();
  return freedBytes;
}

/** Deletes row and directory, unless the snapshot has children. */
export async function removeRow(context: SnapshotContext, row: SnapshotRow): Promise<boolean> {
  await failpoint('snapshotter.remove.row');
  const removed = await context.store.transaction((tx) => {
    if (childrenOf(tx, row.id).length > 0) return false;
    deleteSnapshot(tx, row.id);
    return true;
  });
  if (!removed) return false;
  context.countSnapshots();
  await context.trash.discard(context.directories.of(row.id));
  return true;
}

/** An init layer is worth keeping as long as the chain that it was made for. */
function isNeeded(name: string, used: ReadonlySet<string>, pins: Pins): boolean {
  const chain = name.startsWith(INIT_PREFIX) ? name.slice(INIT_PREFIX.length) : name;
  return [name, chain].some((needed) => used.has(needed) || pins.has(needed));
}

/** How a snapshot is mounted: as an overlay of its chain, or, where there is nothing to overlay, as a bind mount. */
import { CairnError, messageOf } from '../base/errors.ts';
import { bindMount, mountOverlay } from '../linux/index.ts';
import type { SnapshotContext } from './context.ts';
import type { MountSpec } from './index.ts';
import { OVERLAY_OPTIONS } from './layer-view.ts';
import { chainOf, type SnapshotRow } from './rows.ts';

export type MountPlan =
  | { readonly kind: 'bind'; readonly source: string; readonly readonly: boolean }
  | { readonly kind: 'overlay'; readonly lower: readonly string[]; readonly upper?: string; readonly work?: string };

export function planMount({ store, directories }: SnapshotContext, row: SnapshotRow): MountPlan {
  // A view with a parent has nothing of its own; a committed snapshot is seen like a view on it.
  const topId = row.kind === 'committed' ? row.id : row.parentId;
  const lower = topId === undefined ? [] : chainOf(store, topId).map((id) => directories.fs(id));
  const own = directories.fs(row.id);
  const [only] = lower;
  if (row.kind === 'active') {
    if (only === undefined) return { kind: 'bind', source: own, readonly: false };
    return { kind: 'overlay', lower, upper: own, work: directories.work(row.id) };
  }
  if (lower.length > 1) return { kind: 'overlay', lower };
  return { kind: 'bind', source: only ?? own, readonly: true };
}

export function describeMount(plan: MountPlan): MountSpec {
  if (plan.kind === 'bind')
    return { type: 'bind', source: plan.source, options: ['bind', plan.readonly ? 'ro' : 'rw'] };
  const options = ['redirect_dir=nofollow', 'metacopy=off', 'index=off', `lowerdir=${plan.lower.join(':')}`];
  if (plan.upper === undefined || plan.work === undefined)
    return { type: 'overlay', source: 'overlay', options: ['ro', ...options] };
  return {
    type: 'overlay',
    source: 'overlay',
    options: [...options, `upperdir=${plan.upper}`, `workdir=${plan.work}`],
  };
}

export async function applyMount(plan: MountPlan, name: string, target: string): Promise<void> {
  try {
    if (plan.kind === 'bind') bindMount(plan.source, target, { readonly: plan.readonly });
    else await mountOverlay({ ...plan, target, options: OVERLAY_OPTIONS });
  } catch (error) {
    const message = `snapshot ${name} can't be mounted at ${target}: ${messageOf(error)}`;
    throw new CairnError('Internal', message, { step: 'snapshotter.mount', cause: error });
  }
}

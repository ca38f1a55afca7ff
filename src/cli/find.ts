/** What people call containers and pods: an ID, the beginning of one, or a name. */
import { CairnError } from '../base/errors.ts';
import type { Context } from './context.ts';
import { QUICK_MS } from './context.ts';
import { Cri } from './wire.ts';

/** Marks pods that `cairn run` made: they go with their container. */
export const RUN_LABEL = 'io.cairn.run';

const { listContainers, listPodSandbox } = Cri.RuntimeService.methods;

export async function listAllContainers({ rpc, signal }: Context): Promise<Cri.Container[]> {
  return (await rpc.call(listContainers, {}, { signal, timeoutMs: QUICK_MS })).containers;
}

export async function listAllPods({ rpc, signal }: Context): Promise<Cri.PodSandbox[]> {
  return (await rpc.call(listPodSandbox, {}, { signal, timeoutMs: QUICK_MS })).items;
}

/** The one container that `text` means. NotFound, or InvalidArgument when it means several. */
export async function findContainer(context: Context, text: string): Promise<Cri.Container> {
  const found = (await listAllContainers(context)).filter(
    (one) => one.id.startsWith(text) || one.metadata?.name === text,
  );
  return only(found, text, 'container');
}

export async function findPod(context: Context, text: string): Promise<Cri.PodSandbox> {
  const found = (await listAllPods(context)).filter((one) => one.id.startsWith(text) || one.metadata?.name === text);
  return only(found, text, 'pod');
}

function only<T extends { readonly id: string }>(found: readonly T[], text: string, kind: string): T {
  const [first] = found;
  if (first === undefined) throw new CairnError('NotFound', `no such ${kind}: ${text}`);
  if (found.length > 1) {
    const ids = found.map((one) => one.id.slice(0, 12)).join(', ');
    throw new CairnError('InvalidArgument', `${text} means ${found.length} ${kind}s: ${ids}; use more of the ID`);
  }
  return first;
}

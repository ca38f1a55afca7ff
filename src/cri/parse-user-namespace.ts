/** UserNamespace and IDMapping. */
import type { IDMapping, UserNamespace } from '../generated/cri.js';
import type { IdMapping, IdMappings } from '../linux/index.ts';
import { invalid, oneOf } from './fields.ts';

/** enum NamespaceMode, as far as it has a meaning for user namespaces. */
const MODES: Readonly<Record<number, 'pod' | 'node'>> = { 0: 'pod', 2: 'node' };
const IDS = 2 ** 32;

/** The mappings of a user namespace of the pod's own; undefined for the node's, which is also what an absent message means. */
export function parseUserNamespace(field: string, userns: UserNamespace | null): IdMappings | undefined {
  if (!userns) return undefined;
  const mode = oneOf(`${field}.mode`, userns.mode, MODES);
  if (mode === 'node') {
    if (userns.uids.length + userns.gids.length > 0) throw invalid(field, 'NODE has no ID mappings');
    return undefined;
  }
  return { uids: parseIdMappings(`${field}.uids`, userns.uids), gids: parseIdMappings(`${field}.gids`, userns.gids) };
}

/** Kubernetes gives a pod one range of IDs, which begins with root; nothing that runs here expects more. */
export function parseIdMappings(field: string, mappings: readonly IDMapping[]): readonly IdMapping[] {
  const [only] = mappings;
  if (only === undefined || mappings.length > 1)
    throw invalid(field, `needs exactly one mapping, not ${mappings.length}`);
  const { containerId, hostId, length } = only;
  if (containerId !== 0) throw invalid(`${field}[0].container_id`, 'must be 0: root of the container has to be mapped');
  if (length === 0) throw invalid(`${field}[0].length`, 'must be more than 0');
  if (hostId + length > IDS) throw invalid(`${field}[0]`, `${hostId} and ${length} more is beyond the last ID`);
  return [{ containerId, hostId, length }];
}

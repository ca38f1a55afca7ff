/** What a pod's network plugins are told. The same for ADD and DEL. */
import type { AttachRequest } from '../network/index.ts';
import type { PodRecord } from './records.ts';

/** `netnsPath` is empty when the namespace is gone. */
export function attachRequest(record: PodRecord, netnsPath: string): AttachRequest {
  const { metadata, portMappings, cgroupParent, annotations, dns } = record.config;
  return {
    id: record.id,
    netnsPath,
    podName: metadata.name,
    podNamespace: metadata.namespace,
    podUid: metadata.uid,
    portMappings,
    cgroupParent,
    annotations,
    dns: dns ?? { servers: [], searches: [], options: [] },
  };
}

/**
 * Every Prometheus series of cairnd, in one place: this file is the list that README documents.
 *
 * Seconds and bytes throughout; `result` is `ok` or the kind of the error.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { isCairnError } from './errors.ts';

export const metrics = new Registry();

const FAST = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const SLOW = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** Few, because there is a series for each method and stage. */
const STAGES = [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 300];

function histogram<L extends string>(
  name: string,
  help: string,
  labelNames: readonly L[],
  buckets = FAST,
): Histogram<L> {
  return new Histogram({ name, help, labelNames, buckets, registers: [metrics] });
}

function gauge<L extends string>(name: string, help: string, labelNames: readonly L[]): Gauge<L> {
  return new Gauge({ name, help, labelNames, registers: [metrics] });
}

function counter<L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> {
  return new Counter({ name, help, labelNames, registers: [metrics] });
}

export const series = {
  grpcRequest: histogram('cairn_grpc_request_seconds', 'Time to answer a gRPC request.', ['method', 'code']),
  requestStage: histogram(
    'cairn_request_stage_seconds',
    'Time that requests spent in each of their stages; stages nest.',
    ['method', 'stage'],
    STAGES,
  ),
  requestsRunning: gauge('cairn_requests_running', 'gRPC requests under way.', ['method']),
  imagePull: histogram('cairn_image_pull_seconds', 'Time to pull an image.', ['result'], SLOW),
  imagePullBytes: counter('cairn_image_pull_bytes_total', 'Bytes received from registries for blobs.', []),
  images: gauge('cairn_images', 'Images in the store.', []),
  layerUnpack: histogram('cairn_layer_unpack_seconds', 'Time to digest and unpack one layer.', ['result'], SLOW),
  snapshot: histogram('cairn_snapshot_operation_seconds', 'Time of a snapshot operation.', ['operation', 'result']),
  snapshots: gauge('cairn_snapshots', 'Snapshots in the store.', ['kind']),
  sandbox: histogram('cairn_sandbox_operation_seconds', 'Time of a sandbox operation.', ['operation', 'result']),
  sandboxes: gauge('cairn_sandboxes', 'Pod sandboxes.', ['state']),
  container: histogram('cairn_container_operation_seconds', 'Time of a container operation.', ['operation', 'result']),
  containers: gauge('cairn_containers', 'Containers.', ['state']),
  cni: histogram('cairn_cni_operation_seconds', 'Time of a CNI operation over all plugins.', ['operation', 'result']),
  storeCommit: histogram('cairn_store_commit_seconds', 'Time until a transaction is durable.', []),
} as const;

/** Runs `work` and observes its time and result under `labels`. */
export async function timed<L extends string, T>(
  target: Histogram<L | 'result'>,
  labels: Record<L, string>,
  work: () => Promise<T>,
): Promise<T> {
  const startedAt = performance.now();
  const observe = (result: string) =>
    target.observe({ ...labels, result } as Record<L | 'result', string>, (performance.now() - startedAt) / 1000);
  try {
    const value = await work();
    observe('ok');
    return value;
  } catch (error) {
    observe(isCairnError(error) ? error.kind : 'Bug');
    throw error;
  }
}

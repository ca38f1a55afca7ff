/**
 * Blobs from a registry: opened at an offset, streamed, resumed.
 *
 * No more than the descriptor's size is ever passed on, whatever the registry sends; the digest is the sink owner's to
 * verify. A download that breaks off goes on where it was: it may do so any number of times as long as it gets on.
 */
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { Logger } from '../base/log.ts';
import { series } from '../base/metrics.ts';
import type { RegistryHost } from './hosts.ts';
import type { HostsClient } from './hosts-client.ts';
import type { BlobSink, BlobStream, CallOptions, Descriptor, Reference, RegistryLimits } from './index.ts';
import { failureOf, NoAnswer } from './outcome.ts';
import { backoffMs, sleep } from './retry.ts';
import type { HttpResponse } from './transport.ts';

/** Less than this between two breaks is no progress: else a registry could hold a pull forever, byte by byte. */
const PROGRESS_BYTES_MIN = 64 * 1024;

interface OpenBlob {
  readonly offset: number;
  readonly host: RegistryHost;
  /** Throws NoAnswer when it breaks off. */
  readonly chunks: AsyncGenerator<Uint8Array>;
  discard(): void;
}

export async function openBlob(
  client: HostsClient,
  reference: Reference,
  descriptor: Descriptor,
  offset: number,
  options: CallOptions,
): Promise<BlobStream> {
  const blob = await open(client, reference, descriptor, offset, options);
  return {
    offset: blob.offset,
    servedBy: blob.host.authority,
    chunks: told(blob, descriptor),
    [Symbol.asyncDispose]: async () => blob.discard(),
  };
}

/** The stream with its breaks told as every other failure is. */
async function* told(blob: OpenBlob, descriptor: Descriptor): AsyncGenerator<Uint8Array> {
  try {
    yield* blob.chunks;
  } catch (error) {
    throw error instanceof NoAnswer ? brokenOff(blob.host, descriptor, error) : error;
  }
}

export async function fetchBlob(
  client: HostsClient,
  reference: Reference,
  descriptor: Descriptor,
  sink: BlobSink,
  options: CallOptions,
  limits: RegistryLimits,
  log: Logger,
): Promise<void> {
  // More than there can be: what is there belongs to something else.
  if (sink.offset > descriptor.sizeBytes) await sink.restart();
  let progressAt = sink.offset;
  for (let breaks = 0; sink.offset < descriptor.sizeBytes; ) {
    const blob = await open(client, reference, descriptor, sink.offset, options);
    sink.opened?.(blob.host.origin);
    const broken = await pour(blob, sink);
    if (!broken) continue;
    breaks = sink.offset - progressAt >= PROGRESS_BYTES_MIN ? 1 : breaks + 1;
    progressAt = sink.offset;
    const delayMs = backoffMs(limits, breaks, undefined) ?? 0;
    if (breaks > limits.resumesMax) throw brokenOff(blob.host, descriptor, broken);
    if (breaks > 1) client.demote(blob.host);
    const where = { digest: descriptor.digest, host: blob.host.origin, offset: sink.offset };
    log.info({ ...where, error: broken.message }, 'a download broke off and goes on');
    await sleep(delayMs, options.signal, 'registry.fetchBlob');
  }
}

/** Moves the blob into the sink. Returns how it broke off, if it did; what the sink throws passes. */
async function pour(blob: OpenBlob, sink: BlobSink): Promise<NoAnswer | undefined> {
  try {
    if (blob.offset !== sink.offset) await sink.restart();
    for (;;) {
      const next = await blob.chunks.next().catch((error: unknown) => {
        if (error instanceof NoAnswer) return error;
        throw error;
      });
      if (next instanceof NoAnswer) return next;
      if (next.done) return undefined;
      await failpoint('registry.blob.append');
      await sink.append(next.value);
    }
  } finally {
    blob.discard();
  }
}

async function open(
  client: HostsClient,
  reference: Reference,
  descriptor: Descriptor,
  offset: number,
  options: CallOptions,
): Promise<OpenBlob> {
  const ask = (from: number) =>
    client.ask({
      reference: { ...reference, tag: undefined, digest: descriptor.digest },
      capability: 'pull',
      method: 'GET',
      path: `/blobs/${descriptor.digest}`,
      headers: from > 0 ? { range: `bytes=${from}-` } : {},
      verified: true,
      statuses: from > 0 ? [200, 206, 416] : [200],
      options,
      step: 'registry.openBlob',
      accept: async (response, host) => accept(response, host, descriptor, from),
    });
  // A server that refuses the range may still serve the whole.
  const blob = (await ask(offset)) ?? (await ask(0));
  if (!blob) throw dataLoss(`no registry sends blob ${descriptor.digest} from its beginning`);
  return blob;
}

function accept(
  response: HttpResponse,
  host: RegistryHost,
  descriptor: Descriptor,
  from: number,
): OpenBlob | undefined {
  const { digest, sizeBytes } = descriptor;
  const discard = () => response.discard();
  if (response.status === 416) {
    discard();
    return undefined;
  }
  const length = response.header('content-length');
  let offset = 0;
  let total = length === undefined ? undefined : Number(length);
  if (response.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.header('content-range') ?? '');
    if (Number(range?.[1]) !== from) {
      discard();
      return undefined;
    }
    offset = from;
    total = range?.[2] === undefined || range[2] === '*' ? undefined : Number(range[2]);
  }
  if (total !== undefined && total !== sizeBytes) {
    discard();
    throw dataLoss(`has ${total} bytes of blob ${digest}, but the manifest says ${sizeBytes}`);
  }
  return { offset, host, chunks: measured(response, descriptor, offset), discard };
}

/** Passes on exactly what is missing: more is DataLoss, less a stream that broke off. */
async function* measured(response: HttpResponse, descriptor: Descriptor, offset: number): AsyncGenerator<Uint8Array> {
  let at = offset;
  for await (const chunk of response.body) {
    at += chunk.byteLength;
    series.imagePullBytes.inc(chunk.byteLength);
    if (at > descriptor.sizeBytes) {
      const message = `${response.url.origin} sends more than the ${descriptor.sizeBytes} bytes of blob ${descriptor.digest}`;
      throw dataLoss(message);
    }
    yield chunk;
  }
  if (at < descriptor.sizeBytes) {
    throw new NoAnswer(`ended at ${at} of ${descriptor.sizeBytes} bytes`, { retryable: true });
  }
}

function dataLoss(message: string): CairnError {
  return new CairnError('DataLoss', message, { step: 'registry.openBlob' });
}

function brokenOff(host: RegistryHost, descriptor: Descriptor, error: NoAnswer): CairnError {
  const failure = { address: host.origin, isServer: host.isServer, error };
  return failureOf(`blob ${descriptor.digest}`, [failure], 'registry.fetchBlob');
}

/** The messages between `WorkerPool` and its threads, and the worker's side of them. */
import { parentPort } from 'node:worker_threads';
import { CairnError, type ErrorKind, errnoOf, isCairnError } from './errors.ts';

export type ToWorker<Job> = { readonly id: number } & ({ readonly job: Job } | { readonly abort: true });

export type FromWorker<Result> =
  | { readonly ok: true; readonly result: Result }
  | { readonly ok: false; readonly error: PlainError };

/** Structured clone loses the class and the properties of an error, so they travel as data. */
interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly kind: ErrorKind | undefined;
  readonly step: string | undefined;
  readonly code: string | undefined;
}

/** Makes this thread a worker of a pool: answers every job with what `work` returns or throws. */
export function serveJobs<Job, Result>(work: (job: Job, signal: AbortSignal) => Promise<Result>): void {
  const port = parentPort;
  if (!port) throw new Error('serveJobs: not in a worker thread');
  let current: { readonly id: number; readonly controller: AbortController } | undefined;

  const answer = async (id: number, job: Job): Promise<FromWorker<Result>> => {
    const controller = new AbortController();
    current = { id, controller };
    try {
      return { ok: true, result: await work(job, controller.signal) };
    } catch (error) {
      return { ok: false, error: flattenError(error) };
    } finally {
      current = undefined;
    }
  };

  port.on('message', (message: ToWorker<Job>) => {
    if ('job' in message) {
      void answer(message.id, message.job).then((reply) => port.postMessage(reply));
    } else if (current?.id === message.id) {
      current.controller.abort(new CairnError('Cancelled', 'cancelled'));
    }
  });
}

function flattenError(thrown: unknown): PlainError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const cairn = isCairnError(thrown) ? thrown : undefined;
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    kind: cairn?.kind,
    step: cairn?.step,
    code: errnoOf(thrown),
  };
}

export function reviveError(plain: PlainError): Error {
  const { kind, step, code } = plain;
  const error =
    kind === undefined
      ? Object.assign(new Error(plain.message), { name: plain.name }, code === undefined ? {} : { code })
      : new CairnError(kind, plain.message, step === undefined ? {} : { step });
  if (plain.stack !== undefined) error.stack = plain.stack;
  return error;
}

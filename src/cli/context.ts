/** What every command has: the daemon's clients, a way to print, and how it ends. */
import { CairnError, isCairnError, messageOf } from '../base/errors.ts';
import { createRpcClient, type RpcClient } from '../rpc/index.ts';

/** A quick answer is expected: the daemon is on this machine. Pulls, stops and streams set their own limit. */
export const QUICK_MS = 10_000;

export interface Context {
  readonly rpc: RpcClient;
  /** Aborted by Ctrl-C: running calls are cancelled. */
  readonly signal: AbortSignal;
  /** One line to standard output. */
  print(line: string): void;
}

/** Runs a command's work with clients for `socketPath`; sets the exit code and explains what failed. */
export async function runCommand(
  socketPath: string,
  work: (context: Context) => Promise<number | undefined>,
): Promise<void> {
  const interrupt = new AbortController();
  const onSignal = () => {
    interrupt.abort(new CairnError('Cancelled', 'interrupted'));
    // A second Ctrl-C ends at once.
    process.once('SIGINT', () => process.exit(130));
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  using rpc = createRpcClient({ address: `unix://${socketPath}` });
  try {
    const print = (line: string) => process.stdout.write(`${line}\n`);
    process.exitCode = (await work({ rpc, signal: interrupt.signal, print })) ?? 0;
  } catch (error) {
    process.exitCode = interrupt.signal.aborted ? 130 : fail(error);
    if (isCairnError(error, 'Unavailable')) process.stderr.write(`cairn: is cairnd running at ${socketPath}?\n`);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

/** Says on standard error what went wrong; returns the exit code: 2 for a bad request, else 1. */
export function fail(error: unknown): number {
  process.stderr.write(`cairn: ${messageOf(error)}\n`);
  if (!isCairnError(error)) {
    process.stderr.write(`${error instanceof Error ? error.stack : ''}\n`);
    return 1;
  }
  return error.kind === 'InvalidArgument' ? 2 : 1;
}

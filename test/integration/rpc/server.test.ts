import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { CairnError } from '../../../src/base/errors.ts';
import { type Logger, silentLogger } from '../../../src/base/log.ts';
import { metrics } from '../../../src/base/metrics.ts';
import { Cairn } from '../../../src/generated/cairn.js';
import { ImageService, RuntimeService } from '../../../src/generated/cri.js';
import { createGrpcServer, createRpcClient, type GrpcServer, type Handlers, service } from '../../../src/rpc/index.ts';

let directory: string;
let listen: string;
let server: GrpcServer | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cairn-rpc-'));
  listen = `unix://${directory}/cairn.sock`;
});

afterEach(async () => {
  await server?.stop();
  server = undefined;
  await rm(directory, { recursive: true, force: true });
});

interface Parts {
  readonly runtime?: Handlers<typeof RuntimeService>;
  readonly cairn?: Handlers<typeof Cairn>;
  readonly log?: Logger;
  readonly graceMs?: number;
}

async function serve({ runtime = {}, cairn = {}, log = silentLogger, graceMs = 2000 }: Parts): Promise<void> {
  const services = [service(RuntimeService, runtime, () => ({})), service(Cairn, cairn, () => ({}))];
  server = await createGrpcServer({ listen, services, log, graceMs });
}

const client = () => createRpcClient({ address: listen });
const { version, stopContainer, execSync, exec } = RuntimeService.methods;

/** A log whose lines can be read. */
function recordingLog() {
  const lines: Record<string, unknown>[] = [];
  return { lines, log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) }) };
}

function waitForAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
}

describe('a call', () => {
  test('is answered by its handler', async () => {
    await serve({ runtime: { version: (request) => ({ version: request.version, runtimeName: 'cairn' }) } });
    using rpc = client();
    expect(await rpc.call(version, { version: 'v1' })).toMatchObject({ version: 'v1', runtimeName: 'cairn' });
  });

  test('without a handler is Unimplemented and names itself', async () => {
    await serve({});
    using rpc = client();
    await expect(rpc.call(exec, {})).rejects.toMatchObject({
      kind: 'Unimplemented',
      message: expect.stringContaining('Exec (runtime.v1.RuntimeService)'),
    });
  });

  test('of a service that is not served is Unimplemented', async () => {
    await serve({});
    using rpc = client();
    await expect(rpc.call(ImageService.methods.listImages, {})).rejects.toMatchObject({ kind: 'Unimplemented' });
  });

  test('fails with the kind and the words of a CairnError, whatever characters they have', async () => {
    const message = 'pod "ä\ud800" is 100% gone:\nline two';
    await serve({
      runtime: {
        version: () => {
          throw new CairnError('FailedPrecondition', message);
        },
      },
    });
    using rpc = client();
    await expect(rpc.call(version, {})).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: message.toWellFormed(),
    });
  });

  test('that meets a bug is Internal, names the request and keeps the stack in the log', async () => {
    const { lines, log } = recordingLog();
    await serve({
      log,
      runtime: {
        version: () => {
          throw new TypeError('password is hunter2');
        },
      },
    });
    using rpc = client();
    await expect(rpc.call(version, {})).rejects.toMatchObject({
      kind: 'Internal',
      message: expect.not.stringContaining('hunter2'),
    });
    const line = lines.find(({ level }) => level === 50);
    expect(line).toMatchObject({ method: 'Version', code: 'Internal', err: { type: 'TypeError' } });
    await expect(rpc.call(version, {})).rejects.toThrow(/request \w+/);
  });

  test('that the caller cancels fires its signal', async () => {
    let reason: unknown;
    await serve({
      runtime: {
        execSync: (_request, { signal }) =>
          waitForAbort(signal).catch((error) => {
            reason = error;
            throw error;
          }),
      },
    });
    using rpc = client();
    const controller = new AbortController();
    const call = rpc.call(execSync, {}, { signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    await expect(call).rejects.toMatchObject({ kind: 'Cancelled' });
    await sleep(50);
    expect(reason).toMatchObject({ kind: 'Cancelled' });
  });

  test('whose deadline passes fires its signal with DeadlineExceeded', async () => {
    let reason: unknown;
    await serve({
      runtime: {
        execSync: (_request, { signal }) =>
          waitForAbort(signal).catch((error) => {
            reason = error;
            throw error;
          }),
      },
    });
    using rpc = client();
    await expect(rpc.call(execSync, {}, { timeoutMs: 80 })).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    await sleep(80);
    expect(reason).toMatchObject({ kind: 'DeadlineExceeded' });
  });

  test('larger than 16 MiB is refused and a large answer is not', async () => {
    await serve({ runtime: { execSync: () => ({ stdout: Buffer.alloc(20 << 20, 'x') }) } });
    using rpc = client();
    expect((await rpc.call(execSync, {})).stdout).toHaveLength(20 << 20);
    const cmd = [Buffer.alloc(17 << 20, 'x').toString()];
    await expect(rpc.call(execSync, { cmd })).rejects.toMatchObject({ kind: 'ResourceExhausted' });
  });

  test('is counted by method and code', async () => {
    await serve({ runtime: { stopContainer: () => ({}) } });
    using rpc = client();
    await rpc.call(stopContainer, {});
    await rpc.call(exec, {}).catch(() => undefined);
    const text = await metrics.getSingleMetricAsString('cairn_grpc_request_seconds');
    expect(text).toMatch(/_count\{method="runtime.v1.RuntimeService\/StopContainer",code="OK"\} [1-9]/);
    expect(text).toMatch(/_count\{method="runtime.v1.RuntimeService\/Exec",code="Unimplemented"\} [1-9]/);
  });
});

describe('a stream', () => {
  test('sends what its handler yields, at the pace of the reader', async () => {
    const text = Buffer.alloc(64 * 1024, 'x');
    let sent = 0;
    await serve({
      cairn: {
        logs: async function* () {
          for (; sent < 200; sent++) yield { lines: [{ text }] };
        },
      },
    });
    using rpc = client();
    let received = 0;
    for await (const { lines } of rpc.stream(Cairn.methods.logs, {})) {
      if (received === 0) {
        await sleep(200);
        expect(sent).toBeLessThan(100);
      }
      received += lines.length;
    }
    expect(received).toBe(200);
  });

  test('that fails half-way gives what came before and then the error', async () => {
    await serve({
      cairn: {
        logs: async function* () {
          yield { lines: [{ text: Buffer.from('one') }] };
          throw new CairnError('DataLoss', 'the rest is gone');
        },
      },
    });
    using rpc = client();
    const seen: string[] = [];
    const read = async () => {
      for await (const { lines } of rpc.stream(Cairn.methods.logs, {})) {
        seen.push(...lines.map((line) => Buffer.from(line.text).toString()));
      }
    };
    await expect(read()).rejects.toMatchObject({ kind: 'DataLoss', message: 'the rest is gone' });
    expect(seen).toEqual(['one']);
  });

  test('that its reader leaves ends its handler', async () => {
    let ended: unknown;
    await serve({
      cairn: {
        logs: async function* (_request, { signal }) {
          try {
            yield { lines: [] };
            await waitForAbort(signal);
          } finally {
            ended = signal.reason;
          }
        },
      },
    });
    using rpc = client();
    for await (const _ of rpc.stream(Cairn.methods.logs, {})) break;
    await sleep(100);
    expect(ended).toMatchObject({ kind: 'Cancelled' });
  });
});

describe('stopping', () => {
  test('lets running calls finish, refuses new ones and removes the socket', async () => {
    await serve({
      runtime: {
        execSync: async () => {
          await sleep(200);
          return { exitCode: 7 };
        },
        version: () => ({}),
      },
    });
    using rpc = client();
    await rpc.call(version, {});
    const running = rpc.call(execSync, {});
    await sleep(50);
    const stopped = server?.stop();
    await expect(rpc.call(version, {})).rejects.toMatchObject({ kind: 'Unavailable' });
    expect(await running).toMatchObject({ exitCode: 7 });
    await stopped;
    expect(await readdir(directory)).toEqual([]);
  });

  test('cancels calls that take longer than the grace time, and says which', async () => {
    const { lines, log } = recordingLog();
    await serve({ log, graceMs: 100, runtime: { execSync: (_request, { signal }) => waitForAbort(signal) } });
    using rpc = client();
    const running = rpc.call(execSync, {});
    const outcome = expect(running).rejects.toMatchObject({ kind: 'Unavailable', message: 'cairnd is stopping' });
    await sleep(50);
    await server?.stop();
    await outcome;
    expect(lines.find(({ calls }) => calls !== undefined)?.['calls']).toEqual([
      expect.stringMatching(/^ExecSync \(\w+\), no particular stage for 0\.\d s$/),
    ]);
  });

  test('ends streams at once', async () => {
    await serve({
      graceMs: 5000,
      cairn: {
        // biome-ignore lint/correctness/useYield: a stream that has nothing to say yet
        logs: async function* (_request, { signal }) {
          await waitForAbort(signal);
        },
      },
    });
    using rpc = client();
    const outcome = expect(rpc.stream(Cairn.methods.logs, {}).next()).rejects.toMatchObject({ kind: 'Unavailable' });
    await sleep(50);
    const startedAt = performance.now();
    await server?.stop();
    await outcome;
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });
});

describe('the socket', () => {
  test('is for its owner only, whatever the umask', async () => {
    const umask = process.umask(0);
    try {
      await serve({});
    } finally {
      process.umask(umask);
    }
    expect((await stat(`${directory}/cairn.sock`)).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(umask);
  });

  test('takes the place of one that a dead process left', async () => {
    const path = `${directory}/cairn.sock`;
    const dead = createServer().listen(path);
    await sleep(20);
    // The name stays when it is moved away while the listener closes.
    const { rename } = await import('node:fs/promises');
    await rename(path, `${path}.kept`);
    await new Promise((resolve) => dead.close(resolve));
    await rename(`${path}.kept`, path);
    await serve({ runtime: { version: () => ({}) } });
    using rpc = client();
    await rpc.call(version, {});
  });

  test('is not taken from a process that listens', async () => {
    await serve({});
    await expect(createGrpcServer({ listen, services: [], log: silentLogger })).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringContaining('another process listens'),
    });
    using rpc = client();
    await expect(rpc.call(version, {})).rejects.toMatchObject({ kind: 'Unimplemented' });
  });

  test('never replaces a file', async () => {
    await writeFile(`${directory}/cairn.sock`, 'precious');
    await chmod(`${directory}/cairn.sock`, 0o644);
    await expect(createGrpcServer({ listen, services: [], log: silentLogger })).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringContaining('is no socket'),
    });
  });

  test('must have a name that fits and has the form unix:///path', async () => {
    const long = `unix:///${'x'.repeat(120)}`;
    for (const bad of ['/run/x.sock', 'tcp://127.0.0.1:1', 'unix://relative', long]) {
      await expect(createGrpcServer({ listen: bad, services: [], log: silentLogger })).rejects.toMatchObject({
        kind: 'InvalidArgument',
      });
    }
  });

  test('that nobody listens on makes the client say so', async () => {
    using rpc = client();
    await expect(rpc.call(version, {})).rejects.toMatchObject({ kind: 'Unavailable' });
  });
});

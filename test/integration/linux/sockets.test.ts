import { spawnSync } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  closeDescriptor,
  connectInNamespace,
  createNamespaces,
  receiveDescriptor,
  removeNamespace,
  SeqpacketSocket,
} from '../../../src/linux/index.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../fixtures/temporary-directory.ts';

let directory: TemporaryDirectory;
let before: number;
const descriptors = async () => (await readdir('/proc/self/fd')).length;
beforeEach(async () => {
  directory = await temporaryDirectory('sockets');
  before = await descriptors();
});
afterEach(async () => {
  await directory[Symbol.asyncDispose]();
});

describe('receiveDescriptor', () => {
  test('takes what was sent before it looked, through a path of any length, and leaves no socket', async () => {
    using receiver = receiveDescriptor(directory.path, 'x'.repeat(60));
    expect(receiver.path.length).toBeLessThan(108);
    const program = `
import socket, array, os
s = socket.socket(socket.AF_UNIX); s.connect(${JSON.stringify(receiver.path)})
r, w = os.pipe(); os.write(w, b'through')
s.sendmsg([b'name'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [r]))])`;
    expect(spawnSync('python3', ['-c', program], { encoding: 'utf8' }).stderr).toBe('');
    closeDescriptor(receiver.take());
    receiver[Symbol.dispose]();
    expect(await readdir(directory.path)).toEqual([]);
    expect(await descriptors()).toBeLessThanOrEqual(before);
  });

  test('says so when nothing was sent', () => {
    using receiver = receiveDescriptor(directory.path, 'tty');
    expect(() => receiver.take()).toThrow(expect.objectContaining({ kind: 'FailedPrecondition' }));
  });
});

describe('SeqpacketSocket', () => {
  test('to nobody is the kernel’s error, and leaves no descriptor', async () => {
    const connect = () => SeqpacketSocket.connect(join(directory.path, 'nobody'), { packetBytesMax: 10 });
    expect(connect).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    expect(await descriptors()).toBeLessThanOrEqual(before);
  });
});

describe('connectInNamespace', () => {
  const listen = async (): Promise<{ server: Server; port: number }> => {
    const server = createServer((socket) => socket.end('from the host'));
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
    const address = server.address();
    return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
  };

  test('is another network than ours; without a path it is ours', async () => {
    const { server, port } = await listen();
    const network = join(directory.path, 'net');
    await createNamespaces({ network });
    try {
      await expect(connectInNamespace(network, port)).rejects.toMatchObject({
        kind: 'FailedPrecondition',
        message: expect.stringContaining(`127.0.0.1:${port}: ECONNREFUSED`) as unknown,
      });
      const socket = await connectInNamespace(undefined, port);
      expect(Buffer.concat(await socket.toArray()).toString()).toBe('from the host');
      socket.destroy();
    } finally {
      await removeNamespace(network);
      server.close();
    }
  });

  test('of a namespace that is gone is the kernel’s error', async () => {
    await expect(connectInNamespace(join(directory.path, 'gone'), 80)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

/** The streaming server as the configuration wants it. */
import { readFile } from 'node:fs/promises';
import { CairnError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/index.ts';
import { createStreamingServer, type StreamingServer, type StreamingServerOptions } from '../streaming/index.ts';
import type { Modules } from './modules.ts';

export async function openStreaming(config: Config, modules: Modules, log: Logger): Promise<StreamingServer> {
  const { address, idleTimeoutSeconds } = config.streaming;
  const { containers, pods } = modules;
  const tls = await readTls(config);
  const idleTimeoutMs = idleTimeoutSeconds * 1000;
  return await createStreamingServer({ address, containers, pods, idleTimeoutMs, log, ...(tls && { tls }) });
}

async function readTls({ streaming: { tlsCert, tlsKey } }: Config): Promise<StreamingServerOptions['tls']> {
  if (tlsCert === '' && tlsKey === '') return undefined;
  if (tlsCert === '' || tlsKey === '') {
    const missing = tlsCert === '' ? 'tls_cert' : 'tls_key';
    throw new CairnError('InvalidArgument', `streaming.${missing}: TLS needs both tls_cert and tls_key`);
  }
  const [cert, key] = await Promise.all([readPem('tls_cert', tlsCert), readPem('tls_key', tlsKey)]);
  return { cert, key };
}

async function readPem(name: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new CairnError('InvalidArgument', `streaming.${name}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * The daemon's life: lock its directories, open the modules, bring rows and world together, serve, and on SIGTERM or
 * SIGINT finish the requests that run and leave. Containers stay as they are.
 *
 * Exit codes: 0 after a signal, 1 when it could not start or met a bug, 2 for a bad configuration.
 */
import type { Logger } from '../base/log.ts';
import { VERSION } from '../base/version.ts';
import { type Config, socketPath } from '../config/index.ts';
import { createGrpcServer } from '../rpc/index.ts';
import { lockDirectories } from './directories.ts';
import { serveMetrics } from './metrics-server.ts';
import { openModules, reconcile } from './modules.ts';
import { readRuntimes } from './runtime-info.ts';
import { createServices } from './services.ts';
import { openStreaming } from './streaming.ts';

export { checkConfig } from './check-config.ts';
export { createLogger } from './logger.ts';
export { tearDown } from './teardown.ts';

/** Runs until a signal says otherwise. */
export async function runDaemon(config: Config, configFile: string, log: Logger): Promise<void> {
  const startedAt = performance.now();
  await using stack = new AsyncDisposableStack();
  stack.use(await lockDirectories(config));
  const leave = leaveSignal(log);
  const modules = stack.use(await openModules(config, log));
  await reconcile(modules);
  const metricsServer =
    config.metricsAddress === '' ? undefined : stack.use(await serveMetrics(config.metricsAddress, log));
  const streaming = stack.use(await openStreaming(config, modules, log));
  const listen = `unix://${socketPath(config)}`;
  const metricsAddress = metricsServer?.address ?? '';
  const runtimes = await readRuntimes(modules.runtimes.values(), log);
  const services = await createServices({ modules, streaming, config, configFile, runtimes, listen, metricsAddress });
  stack.use(await createGrpcServer({ listen, services, log }));
  const startMs = Math.round(performance.now() - startedAt);
  log.info({ version: VERSION, listen, root: config.root, state: config.state, startMs }, 'cairnd is ready');
  await leave;
}

function leaveSignal(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        log.info({ signal }, 'leaving: running requests may finish, containers stay');
        resolve();
      });
    }
  });
}

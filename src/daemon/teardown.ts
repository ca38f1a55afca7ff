/**
 * `cairnd teardown`: takes what this instance has on the host away again, without a running daemon: pods, their networks,
 * the embedded bridge and its rules, the parent cgroup. Images, blobs and the database stay.
 */
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/index.ts';
import { removeEmptyCgroup } from '../linux/index.ts';
import { lockDirectories } from './directories.ts';
import { openModules, reconcile } from './modules.ts';

/** FailedPrecondition while a daemon uses these directories. */
export async function tearDown(config: Config, log: Logger): Promise<{ readonly podsRemoved: number }> {
  await using stack = new AsyncDisposableStack();
  stack.use(await lockDirectories(config));
  const modules = stack.use(await openModules(config, log));
  await reconcile(modules);
  const pods = modules.pods.list();
  for (const { id } of pods) await modules.pods.remove(id);
  await modules.network.teardown();
  if (config.cgroup.driver === 'cgroupfs') await removeEmptyCgroup(config.sandbox.cgroupParent);
  return { podsRemoved: pods.length };
}

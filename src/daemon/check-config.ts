/** What only the whole configuration shows, beyond the form of each value: asked at start and by `cairnd config check`. */
import { CairnError } from '../base/errors.ts';
import type { Config } from '../config/index.ts';
import { parseRlimit } from './rlimits.ts';

/** Throws InvalidArgument naming the key and what is allowed. */
export function checkConfig({ root, state, runtimes, containers }: Config): void {
  if (root === state) {
    throw new CairnError('InvalidArgument', `root and state: both are ${root}; the state must not outlive a reboot`);
  }
  const known = Object.keys(runtimes);
  if (!known.includes(containers.defaultRuntime)) {
    const message = `containers.default_runtime: ${containers.defaultRuntime} is none of ${known.join(', ')}`;
    throw new CairnError('InvalidArgument', message);
  }
  containers.rlimits.forEach(parseRlimit);
}

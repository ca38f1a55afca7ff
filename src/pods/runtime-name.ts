import { CairnError } from '../base/errors.ts';
import type { RuntimeHandler } from '../task/index.ts';

/** The configured runtime of that name. InvalidArgument naming those that there are. */
export function runtimeNamed(runtimes: ReadonlyMap<string, RuntimeHandler>, name: string): RuntimeHandler {
  const runtime = runtimes.get(name);
  if (runtime) return runtime;
  throw new CairnError(
    'InvalidArgument',
    `no runtime handler ${JSON.stringify(name)} is configured; there are: ${[...runtimes.keys()].join(', ')}`,
    { step: 'pod.runtime' },
  );
}

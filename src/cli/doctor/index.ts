/**
 * `cairn doctor`: checks a host as an operator would want it checked. It needs no daemon, and leaves the host as it was.
 *
 * Each check says ok, warning or failed, why it matters, and what to do. The exit code is 1 when any failed.
 */
import type { Config } from '../../config/index.ts';
import { checkCgroups } from './cgroups.ts';
import type { Check } from './check.ts';
import { checkClock } from './clock.ts';
import { checkDisk } from './disk.ts';
import { checkKernel } from './kernel.ts';
import { checkNetwork } from './network.ts';
import { checkPrivileges } from './privileges.ts';
import { renderChecks } from './render.ts';
import { checkRuntimes } from './runtimes.ts';
import { checkSecurity } from './security.ts';

export type { Check, CheckStatus } from './check.ts';

/** What of the configuration the checks need. */
export type DoctorConfig = Pick<Config, 'root' | 'state' | 'network' | 'containers' | 'runtimes' | 'sandbox'>;

export interface DoctorOptions {
  readonly config: DoctorConfig;
  readonly json: boolean;
  /** Default: standard output. */
  readonly output?: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };
}

const WIDTH_DEFAULT = 120;

/** All checks, in the order in which they are worth reading. */
export async function runDoctor(config: DoctorConfig): Promise<Check[]> {
  const groups = await Promise.all([
    checkPrivileges(),
    checkKernel(),
    checkCgroups(),
    checkRuntimes(config),
    checkNetwork(config),
    checkDisk(config),
    checkSecurity(),
    checkClock(),
  ]);
  return groups.flat();
}

/** Prints the checks; returns the exit code. */
export async function doctorCommand({ config, json, output = process.stdout }: DoctorOptions): Promise<number> {
  const checks = await runDoctor(config);
  if (json) {
    output.write(`${JSON.stringify(checks, null, 2)}\n`);
  } else {
    const colours = output.isTTY === true && !process.env['NO_COLOR'];
    output.write(renderChecks(checks, { colours, width: output.columns ?? WIDTH_DEFAULT }));
  }
  return checks.some(({ status }) => status === 'failed') ? 1 : 0;
}

/**
 * `npm run test:v2 [-- PATTERN...]`: tests of the integration suite, and those of test/v2, on cgroup v2 and AppArmor, in a
 * machine of their own (machine.ts). With `--shell COMMAND` a command of yours instead. Needs a build in dist/.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { missingForMachine, runMachine } from './machine.ts';

/**
 * What meets cgroups, security modules or an older kernel (overlay, mounts, namespaces), without what measures time or
 * kills daemons by the dozen.
 */
const CHOSEN = [
  ...['test/v2/', 'test/integration/containers/', 'test/integration/stats/', 'test/integration/daemon/cri'],
  'test/integration/linux/(cgroup|mount|namespaces|files|worker)',
  'test/integration/task/(life-cycle|exec|streams|recovery)',
  'test/integration/pods/(sandbox|limits)',
  'test/integration/snapshotter/(snapshots|mending)',
];
/** The machine has one slow CPU: 20 minutes are usual for all. */
const TIME_LIMIT_MS = 45 * 60_000;
const TEST_TIMEOUT_MS = 240_000;

interface JestSummary {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numRuntimeErrorTestSuites: number;
}

const missing = missingForMachine();
if (missing.length > 0) {
  console.error(`test:v2: this host lacks ${missing.join(', ')}; deploy/setup.sh v2 installs it`);
  process.exit(1);
}

const [first, ...rest] = process.argv.slice(2);
const isShell = first === '--shell';
const patterns = first === undefined ? CHOSEN : [first, ...rest];
const jest = [
  'jest --selectProjects integration v2 --runInBand --json --outputFile="$MACHINE_RESULTS/jest.json"',
  `--testTimeout ${TEST_TIMEOUT_MS} --testPathPatterns ${patterns.map((pattern) => `'${pattern}'`).join(' ')} >/dev/null`,
];
let summary: JestSummary | undefined;
const startedAt = Date.now();
const { exitCode, timedOut } = await runMachine({
  command: isShell ? rest.join(' ') : jest.join(' '),
  workingDirectory: process.cwd(),
  environment: {
    CI: 'true',
    NO_COLOR: '1',
    NODE_OPTIONS: '--experimental-vm-modules --disable-warning=ExperimentalWarning',
    PATH: `${process.cwd()}/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
  },
  timeLimitMs: TIME_LIMIT_MS,
  onOutput: (text) => process.stdout.write(text),
  collect: async (directory) => {
    const text = await readFile(join(directory, 'jest.json'), 'utf8').catch(() => undefined);
    if (text !== undefined) summary = JSON.parse(text) as JestSummary;
  },
});
const seconds = Math.round((Date.now() - startedAt) / 1000);
if (timedOut) console.error(`test:v2: stopped after ${seconds} s`);
else if (exitCode === undefined) console.error('test:v2: the machine ended before its command did');
if (summary) {
  const failed = summary.numFailedTests + summary.numRuntimeErrorTestSuites;
  console.log(`test:v2: ${summary.numPassedTests} passed, ${failed} failed on cgroup v2 and AppArmor, in ${seconds} s`);
}
process.exitCode = exitCode ?? 1;

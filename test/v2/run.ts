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
  'test/integration/linux/(cgroup|mount|namespaces|files|worker|process)',
  ...['test/integration/task/(life-cycle|exec)', 'test/integration/task/(streams|recovery)'],
  ...['test/integration/pods/(sandbox|limits)', 'test/integration/snapshotter/(snapshots|mending)'],
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
/**
 * A jest for each pattern: nearly every page of a process is a mapping of the host's, which limits their number
 * (vm.max_map_count), and a jest that has run many files comes near it.
 */
const jest = patterns.map((pattern, index) =>
  [
    `jest --selectProjects integration v2 --runInBand --json --outputFile="$MACHINE_RESULTS/${index}.json"`,
    `--testTimeout ${TEST_TIMEOUT_MS} --testPathPatterns '${pattern}' >/dev/null || code=1`,
  ].join(' '),
);
const summaries: JestSummary[] = [];
const startedAt = Date.now();
const { exitCode, timedOut } = await runMachine({
  command: isShell ? rest.join(' ') : ['code=0', ...jest, 'exit $code'].join('\n'),
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
    for (const index of jest.keys()) {
      const text = await readFile(join(directory, `${index}.json`), 'utf8').catch(() => undefined);
      if (text !== undefined) summaries.push(JSON.parse(text) as JestSummary);
    }
  },
});
const seconds = Math.round((Date.now() - startedAt) / 1000);
if (timedOut) console.error(`test:v2: stopped after ${seconds} s`);
else if (exitCode === undefined) console.error('test:v2: the machine ended before its command did');
if (!isShell) {
  const sum = (count: (summary: JestSummary) => number) => summaries.map(count).reduce((a, b) => a + b, 0);
  const passed = sum(({ numPassedTests }) => numPassedTests);
  // A jest that left no result counts as one failure, as does a file that could not be loaded.
  const failed =
    sum(({ numFailedTests, numRuntimeErrorTestSuites }) => numFailedTests + numRuntimeErrorTestSuites) +
    (jest.length - summaries.length);
  console.log(`test:v2: ${passed} passed, ${failed} failed on cgroup v2 and AppArmor, in ${seconds} s`);
}
process.exitCode = exitCode ?? 1;

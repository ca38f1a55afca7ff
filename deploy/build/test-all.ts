/**
 * `npm test`: the checks (format, lint, types, import rules), then every test on the built programs. Ends with one line,
 * `N passed, N failed`, over all of it, and exits with 1 when anything failed.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface JestSummary {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numRuntimeErrorTestSuites: number;
}

const scratch = mkdtempSync(join(tmpdir(), 'cairn-test-all-'));
let passed = 0;
let failed = 0;

function check(name: string, command: string, ...args: string[]): boolean {
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${name}`);
  if (status === 0) passed++;
  else failed++;
  return status === 0;
}

function jest(project: string, ...args: string[]): void {
  const output = join(scratch, `${project}.json`);
  // Forced: a conmon that outlived its test is still watched, and would keep jest waiting for ever.
  const options = ['--selectProjects', project, '--json', `--outputFile=${output}`, '--forceExit', ...args];
  const { status } = spawnSync('jest', options, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '--experimental-vm-modules --disable-warning=ExperimentalWarning' },
  });
  try {
    const summary = JSON.parse(readFileSync(output, 'utf8')) as JestSummary;
    passed += summary.numPassedTests;
    // A file that could not even be loaded counts as one failure.
    failed += summary.numFailedTests + summary.numRuntimeErrorTestSuites;
    if (status !== 0 && summary.numFailedTests + summary.numRuntimeErrorTestSuites === 0) failed++;
  } catch (error) {
    console.error(`${project}: jest left no result (exit ${status}): ${String(error)}`);
    failed++;
  }
}

try {
  check('types from proto/', 'node', 'deploy/build/generate.ts');
  check('format and lint', 'biome', 'check', '.');
  check('types', 'tsc', '--noEmit');
  check('import rules', 'depcruise', '--config', '.dependency-cruiser.cjs', 'src');
  check('build', 'node', 'deploy/build/bundle.ts');
  jest('unit');
  jest('integration', '--runInBand');
  if (check('the kubelet', 'node', 'deploy/build/kubelet.ts')) jest('kubelet', '--runInBand');
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

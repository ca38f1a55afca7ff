/** The programs that run containers: OCI runtimes, conmon, the init of shared PID namespaces. */
import type { Config } from '../../config/index.ts';
import { type Check, subject } from './check.ts';
import { findProgram, run } from './host.ts';
import { isAtLeast, parseVersion, type Version } from './version.ts';

const RUNC_LEAST: Version = [1, 1, 0];
/** --persist-dir, --full-attach, --no-sync-log and the OOM file in it are all there. */
const CONMON_LEAST: Version = [2, 1, 0];

export async function checkRuntimes(config: Pick<Config, 'runtimes' | 'containers' | 'sandbox'>): Promise<Check[]> {
  const runtimes = await Promise.all(
    Object.entries(config.runtimes).map(([name, { path }]) => checkRuntime(name, path)),
  );
  return [
    ...runtimes.flat(),
    await checkConmon(config.containers.conmon),
    await checkInit(config.sandbox.catatonit, config.sandbox.image),
  ];
}

async function checkRuntime(name: string, program: string): Promise<Check[]> {
  const runtime = subject(`runtime.${name}`, 'The OCI runtime makes and starts every container.');
  const file = await findProgram(program);
  if (file === undefined) {
    const fix = `apt-get install ${name}, or set [runtimes.${name}] path to where it is.`;
    return [runtime.failed(`${program} is not there, or not executable`, fix)];
  }
  const output = await run(file, ['--version']);
  const version = parseVersion(output.stdout);
  if (!output.succeeded || version === undefined) {
    const words = (output.words || output.stdout).slice(0, 200);
    return [runtime.failed(`${file} --version: ${words}`, `Reinstall ${name}, or set [runtimes.${name}] path.`)];
  }
  const [shown = ''] = output.stdout.split('\n');
  if (name === 'runc' && !isAtLeast(version, RUNC_LEAST)) {
    return [runtime.failed(`${file}: ${shown} is too old`, 'Install runc 1.1 or later.')];
  }
  return [runtime.ok(`${file}: ${shown}`), await checkFeatures(name, file)];
}

async function checkFeatures(name: string, file: string): Promise<Check> {
  const features = subject(`runtime.${name}.features`, 'What a pod asks for and the runtime lacks is refused.');
  const output = await run(file, ['features']);
  const there = output.succeeded ? parseFeatures(output.stdout) : undefined;
  if (there === undefined) {
    return features.warning(`${file} can't say what it can do`, `Install a newer ${name}.`);
  }
  const { seccomp, idmappedMounts } = there;
  if (!seccomp) {
    return features.failed('built without seccomp', `Install a ${name} that was built with seccomp (Debian's is).`);
  }
  if (!idmappedMounts) {
    return features.warning(
      'seccomp; no ID-mapped mounts: pods with hostUsers: false can have no volumes',
      'Install runc 1.2 or later (crun 1.9), if such pods are wanted.',
    );
  }
  return features.ok('seccomp, ID-mapped mounts');
}

/** The answer of `features` (OCI runtime spec, features.md); undefined when it is none. */
export function parseFeatures(
  text: string,
): { readonly seccomp: boolean; readonly idmappedMounts: boolean } | undefined {
  try {
    const features = JSON.parse(text) as {
      linux?: { seccomp?: { enabled?: boolean }; mountExtensions?: { idmap?: { enabled?: boolean } } };
    } | null;
    return {
      seccomp: features?.linux?.seccomp?.enabled === true,
      idmappedMounts: features?.linux?.mountExtensions?.idmap?.enabled === true,
    };
  } catch {
    return undefined;
  }
}

async function checkConmon(program: string): Promise<Check> {
  const conmon = subject('conmon', 'conmon holds a container’s log, terminal and exit code while cairnd restarts.');
  const file = await findProgram(program);
  if (file === undefined) {
    const fix = 'apt-get install conmon, or set [containers] conmon to where it is.';
    return conmon.failed(`${program} is not there, or not executable`, fix);
  }
  const output = await run(file, ['--version']);
  const version = parseVersion(output.stdout);
  if (!output.succeeded || version === undefined) {
    return conmon.failed(`${file} --version: ${(output.words || output.stdout).slice(0, 200)}`, 'Reinstall conmon.');
  }
  const shown = `${file}: version ${version.join('.')}`;
  return isAtLeast(version, CONMON_LEAST)
    ? conmon.ok(shown)
    : conmon.failed(`${shown} is too old`, 'Install conmon 2.1 or later.');
}

async function checkInit(program: string, image: string): Promise<Check> {
  const init = subject('init', 'A pod that shares one PID namespace needs an init that reaps its processes.');
  if (image !== '') return init.ok(`image ${image}`);
  const file = await findProgram(program);
  if (file !== undefined) return init.ok(file);
  return init.warning(
    `${program} is not there: pods with shareProcessNamespace: true can't start`,
    'apt-get install catatonit, or set [sandbox] image.',
  );
}

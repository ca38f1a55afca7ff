/**
 * `npm run up`: builds, starts cairnd with its embedded network unless one runs already, makes a small image of this
 * machine's own tools, runs a pod from it and shows what came out. `npm run up -- --stop` takes everything down again.
 *
 * Safe to repeat: what is there is used, only the greeting pod is new each time.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeHostImage } from './up/host-image.ts';
import { serveImage } from './up/tiny-registry.ts';

const STATE = process.env['CAIRN_STATE'] ?? '/run/cairn';
const ROOT = process.env['CAIRN_ROOT'] ?? '/var/lib/cairn';
const SOCKET = join(STATE, 'cairn.sock');
const LOG_FILE = join(STATE, 'cairnd.log');
const PID_FILE = join(STATE, 'cairnd.pid');
const ENVIRONMENT = { ...process.env, CAIRN_ROOT: ROOT, CAIRN_STATE: STATE, CAIRN_NETWORK_EMBEDDED: 'true' };
const POD = 'hello';
const REPOSITORY = 'cairn/hello';
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 30_000;
const GREETING = 'echo "Hello from a pod of Cairn on $(uname -sr)"; ip -brief address show eth0; exec sleep 1000000';

const cairn = (...args: readonly string[]) =>
  execFileSync('dist/cairn', ['--listen', `unix://${SOCKET}`, ...args], { encoding: 'utf8' }).trim();

function say(text: string): void {
  console.log(`\n${text}`);
}

/** The daemon's process, if the one that we started still lives. */
function runningDaemon(): number | undefined {
  try {
    const pid = Number(readFileSync(PID_FILE, 'utf8'));
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('cairnd') ? pid : undefined;
  } catch {
    return undefined;
  }
}

function answers(): boolean {
  try {
    execFileSync('dist/cairn', ['--listen', `unix://${SOCKET}`, 'version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function startDaemon(): Promise<void> {
  if (answers()) {
    say(`cairnd is running already (${SOCKET}).`);
    return;
  }
  mkdirSync(STATE, { recursive: true });
  const log = openSync(LOG_FILE, 'a');
  const child = spawn('dist/cairnd', [], {
    detached: true,
    stdio: ['ignore', log, log],
    env: ENVIRONMENT,
  });
  child.unref();
  writeFileSync(PID_FILE, String(child.pid));
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!answers()) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`cairnd did not start. The end of ${LOG_FILE}:\n${readFileSync(LOG_FILE, 'utf8').slice(-2000)}`);
    }
    await sleep(100);
  }
  say(`Started cairnd: socket ${SOCKET}, log ${LOG_FILE}.`);
}

interface Listed {
  readonly id: string;
  readonly name: string;
  readonly state: string;
}

interface ImageListed {
  readonly repoTags: readonly string[];
}

function list(what: readonly string[]): Listed[] {
  return JSON.parse(cairn(...what, '--json')) as Listed[];
}

async function runGreeting(): Promise<void> {
  await using registry = await serveImage(makeHostImage(['sh', '-c', GREETING]), REPOSITORY, 'latest');
  const image = `${registry.host}/${REPOSITORY}:latest`;
  await pull(image);
  for (const old of list(['pods']).filter((pod) => pod.name === POD)) cairn('rm', '--pod', old.id);
  // The registry has another port each time: only the newest name is kept.
  const names = (JSON.parse(cairn('images', '--json')) as ImageListed[]).flatMap(({ repoTags }) => repoTags);
  for (const name of names.filter((each) => each.endsWith(`/${REPOSITORY}:latest`) && each !== image))
    cairn('rmi', name);
  const id = cairn('run', '--detach', '--name', POD, image);
  await sleep(300);
  const container = list(['ps', '--all']).find((each) => each.id === id);
  say(`Image, made of this machine's own tools and pulled from a registry on loopback: ${image}`);
  console.log(`Container ${id.slice(0, 12)} is ${container?.state ?? 'gone'}. Its output, with the pod's address:\n`);
  console.log(cairn('logs', id).replace(/^/gm, '    '));
}

/** Asynchronously: the registry that it is pulled from lives in this process. */
function pull(image: string): Promise<void> {
  const child = spawn('dist/cairn', ['--listen', `unix://${SOCKET}`, 'pull', '--quiet', image], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`cairn pull ended with ${code}`))));
  });
}

function sayWhatNext(): void {
  say('What to try next:');
  console.log(`    export PATH=$PWD/dist:$PATH
    cairn ps                         # containers; also: cairn pods, images, info, doctor
    cairn logs -f ${POD}
    cairn run --rm $(cairn images --json | grep -o '127.0.0.1:[^"]*latest' | head -1) id
    crictl --runtime-endpoint unix://${SOCKET} pods`);
  say('To stop all of it, pods included:');
  console.log('    npm run up -- --stop');
}

async function stopAll(): Promise<void> {
  const pid = runningDaemon();
  if (pid === undefined) {
    say('No cairnd of `npm run up` is running.');
    return;
  }
  process.kill(pid, 'SIGTERM');
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  while (existsSync(`/proc/${pid}`) && Date.now() < deadline) await sleep(100);
  const removed = execFileSync('dist/cairnd', ['teardown'], { encoding: 'utf8', env: ENVIRONMENT }).trim();
  rmSync(PID_FILE, { force: true });
  say(`cairnd has stopped: ${removed}. Images and database are still in ${ROOT}.`);
}

try {
  if (process.argv.includes('--stop')) {
    await stopAll();
  } else {
    console.log('Building ...');
    execFileSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit' });
    await startDaemon();
    await runGreeting();
    sayWhatNext();
  }
} catch (error) {
  console.error(`up: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

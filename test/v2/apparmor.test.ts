/** AppArmor in force: cairnd's own profile, those of the node, and none. Runs in the machine of `npm run test:v2` only. */
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ContainerState, ImageService, NamespaceMode, RuntimeService } from '../../src/generated/cri.js';
import { createRpcClient, type RpcClient } from '../../src/rpc/index.ts';
import { TestDaemon } from '../fixtures/daemon.ts';
import { hostImage } from '../fixtures/host-image.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';

const runtime = RuntimeService.methods;
const RUNTIME_DEFAULT = 0;
const UNCONFINED = 1;
const LOCALHOST = 2;
const PROFILE = 'cairn-test-no-writes';
const END_MS_MAX = 60_000;

const sandbox = {
  metadata: { name: 'apparmor', namespace: 'test', uid: 'apparmor-uid', attempt: 0 },
  logDirectory: '',
  linux: { securityContext: { privileged: true, namespaceOptions: { network: NamespaceMode.NODE } } },
};

let registry: TestRegistry;
let daemon: TestDaemon;
let rpc: RpcClient;
let image: string;
let podSandboxId: string;
let count = 0;

beforeAll(async () => {
  registry = await startRegistry();
  await registry.push('cairn/tools', hostImage(), '1');
  image = `${registry.host}/cairn/tools:1`;
  daemon = await TestDaemon.create();
  rpc = createRpcClient({ address: `unix://${daemon.socket}` });
  await rpc.call(ImageService.methods.pullImage, { image: { image } });
  sandbox.logDirectory = join(daemon.directory, 'logs');
  ({ podSandboxId } = await rpc.call(runtime.runPodSandbox, { config: sandbox }));
});

afterAll(async () => {
  rpc?.[Symbol.dispose]();
  await daemon?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
  if ((await loaded()).includes(`${PROFILE} `)) parser('--remove');
});

const loaded = () => readFile('/sys/kernel/security/apparmor/profiles', 'utf8');

function parser(action: '--add' | '--remove'): void {
  const rules = `profile ${PROFILE} flags=(attach_disconnected) { file, network, capability, deny /root/** w, }`;
  execFileSync('apparmor_parser', [action, '--skip-cache'], { input: rules });
}

async function created(securityContext: object, script: string): Promise<string> {
  const name = `c${++count}`;
  const config = {
    metadata: { name, attempt: 0 },
    image: { image },
    command: ['sh', '-c', script],
    logPath: `${name}.log`,
    // Nothing is hidden by mounts: what is refused, AppArmor refuses.
    linux: { securityContext: { maskedPaths: ['/none'], readonlyPaths: ['/none'], ...securityContext } },
  };
  const request = { podSandboxId, config, sandboxConfig: sandbox };
  return (await rpc.call(runtime.createContainer, request)).containerId;
}

/** What the script prints, run as a container's own process. */
async function prints(securityContext: object, script: string): Promise<string> {
  const containerId = await created(securityContext, script);
  await rpc.call(runtime.startContainer, { containerId });
  for (let waitedMs = 0; ; waitedMs += 50) {
    const { status } = await rpc.call(runtime.containerStatus, { containerId });
    if (status?.state === ContainerState.CONTAINER_EXITED) break;
    if (waitedMs > END_MS_MAX) throw new Error(`still running: ${script}`);
    await sleep(50);
  }
  const log = await readFile(join(sandbox.logDirectory, `c${count}.log`), 'utf8');
  await rpc.call(runtime.removeContainer, { containerId });
  const lines = log.split('\n').map((line) => line.split(' ').slice(3).join(' '));
  return lines.join('\n').trim();
}

const WHO = 'cat /proc/self/attr/current';
/** `h` only prints a help text to the kernel's log. */
const REACHES_HOST = '(echo h >/proc/sysrq-trigger) 2>/dev/null && echo reached || echo refused';
const MOUNTS = 'mount -t tmpfs none /tmp 2>/dev/null && echo mounted || echo refused';
const WRITES = '(echo x >/root/file) 2>/dev/null && echo written || echo refused';
const admin = { capabilities: { addCapabilities: ['SYS_ADMIN'] } };

describe('the default profile', () => {
  test('is in the kernel when cairnd serves', async () => {
    expect(await loaded()).toContain('cairn-default (enforce)\n');
  });

  test.each([
    ['nothing', {}],
    ['RuntimeDefault', { apparmor: { profileType: RUNTIME_DEFAULT } }],
    ['runtime/default in the deprecated field', { apparmorProfile: 'runtime/default' }],
  ])('confines a container that asks for %s', async (_name, asked) => {
    expect(await prints({ ...asked, ...admin }, [WHO, REACHES_HOST, MOUNTS, WRITES].join('; '))).toBe(
      'cairn-default (enforce)\nrefused\nrefused\nwritten',
    );
  });

  test('lets a container signal, see and trace its own, be executed in, and be stopped', async () => {
    const script = `trap 'exit 7' TERM; sleep 1000 & kill -0 $! && cat /proc/$!/environ >/dev/null && echo well; while :; do sleep 0.1; done`;
    const containerId = await created({}, script);
    await rpc.call(runtime.startContainer, { containerId });
    const exec = await rpc.call(runtime.execSync, { containerId, cmd: ['sh', '-c', WHO], timeout: 30 });
    expect(Buffer.from(exec.stdout).toString()).toBe('cairn-default (enforce)\n');
    const log = join(sandbox.logDirectory, `c${count}.log`);
    for (let n = 0; n < 200 && !(await readFile(log, 'utf8')).includes('well'); n++) await sleep(50);
    expect(await readFile(log, 'utf8')).toContain('well');
    await rpc.call(runtime.stopContainer, { containerId, timeout: 60 });
    const { status } = await rpc.call(runtime.containerStatus, { containerId });
    expect(status).toMatchObject({ exitCode: 7 });
    await rpc.call(runtime.removeContainer, { containerId });
  });
});

describe('without a profile', () => {
  test.each([
    ['for Unconfined', { apparmor: { profileType: UNCONFINED }, ...admin }],
    ['for unconfined in the deprecated field', { apparmorProfile: 'unconfined', ...admin }],
    ['to be privileged', { privileged: true }],
    ['to be privileged with RuntimeDefault', { privileged: true, apparmor: { profileType: RUNTIME_DEFAULT } }],
  ])('runs a container that asks %s', async (_name, asked) => {
    expect(await prints(asked, [WHO, REACHES_HOST, MOUNTS].join('; '))).toBe('unconfined\nreached\nmounted');
  });
});

describe('a profile of the node', () => {
  const forms: [string, object][] = [
    ['by its name', { apparmor: { profileType: LOCALHOST, localhostRef: PROFILE } }],
    ['with a prefix', { apparmor: { profileType: LOCALHOST, localhostRef: `localhost/${PROFILE}` } }],
    ['in the deprecated field', { apparmorProfile: `localhost/${PROFILE}` }],
  ];

  test.each(forms)('that is not loaded is refused, asked for %s', async (_name, asked) => {
    await expect(created(asked, 'true')).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringMatching(
        new RegExp(`"${PROFILE}" is not loaded on this host: load it with apparmor_parser`),
      ),
    });
    expect((await rpc.call(runtime.listContainers, {})).containers).toEqual([]);
  });

  test('that was loaded after the start of cairnd confines, in each form, also a privileged container', async () => {
    parser('--add');
    const each = [...forms, ['privileged', { privileged: true, apparmorProfile: `localhost/${PROFILE}` }] as const];
    for (const [, asked] of each) {
      expect(await prints(asked, `${WHO}; ${WRITES}`)).toBe(`${PROFILE} (enforce)\nrefused`);
    }
  });
});

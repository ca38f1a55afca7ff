/** version, info. */
import { type Context, QUICK_MS } from './context.ts';
import { humanBytes, isoTime, toJson } from './format.ts';
import { CairnV1, Cri } from './wire.ts';

export async function versionCommand(
  context: Context,
  clientVersion: string,
  flags: { json?: boolean },
): Promise<number> {
  const { version } = Cri.RuntimeService.methods;
  const answer = await context.rpc
    .call(version, {}, { signal: context.signal, timeoutMs: QUICK_MS })
    .catch((error: Error) => error);
  const server = answer instanceof Error ? undefined : answer;
  if (flags.json) {
    context.print(
      toJson({
        client: clientVersion,
        server: server?.runtimeVersion ?? null,
        criVersion: server?.runtimeApiVersion ?? null,
      }),
    );
  } else {
    context.print(`cairn   ${clientVersion}`);
    context.print(server ? `cairnd  ${server.runtimeVersion} (CRI ${server.runtimeApiVersion})` : 'cairnd  no answer');
  }
  if (answer instanceof Error) process.stderr.write(`cairn: ${answer.message}\n`);
  return server ? 0 : 1;
}

export async function infoCommand(context: Context, flags: { json?: boolean }): Promise<undefined> {
  const info = await context.rpc.call(
    CairnV1.Cairn.methods.getInfo,
    {},
    { signal: context.signal, timeoutMs: QUICK_MS },
  );
  const { daemon, counts, storage, network, host, runtimes } = info;
  if (flags.json) {
    const startedAt = daemon ? isoTime(daemon.startedAt) : '';
    const usage = { usedBytes: storage?.usedBytes.toNumber() ?? 0, inodesUsed: storage?.inodesUsed.toNumber() ?? 0 };
    context.print(
      toJson({ daemon: { ...daemon, startedAt }, counts, storage: { ...storage, ...usage }, network, host, runtimes }),
    );
    return;
  }
  const lines: [string, string][] = [
    ['Version', `${daemon?.version} (Node ${daemon?.nodeVersion}, process ${daemon?.pid})`],
    ['Started', daemon ? isoTime(daemon.startedAt) : ''],
    ['Root', daemon?.root ?? ''],
    ['State', daemon?.state ?? ''],
    ['Socket', daemon?.listen ?? ''],
    ['Metrics', daemon?.metricsAddress || 'off'],
    [
      'Host',
      `${host?.name}, Linux ${host?.kernel}, ${host?.architecture}, cgroup ${host?.cgroupVersion} (${host?.cgroupDriver})`,
    ],
    ['Pods', `${counts?.podsReady} ready, ${counts?.podsNotready} not ready`],
    [
      'Containers',
      `${counts?.containersRunning} running, ${counts?.containersCreated} created, ${counts?.containersExited} exited`,
    ],
    [
      'Images',
      `${counts?.images}, ${humanBytes(storage?.usedBytes.toNumber() ?? 0)} in ${storage?.mountpoint} (${storage?.snapshotter})`,
    ],
    ['Network', network?.ready ? `ready: ${network.name}` : `not ready: ${network?.message}`],
    ...runtimes.map((each): [string, string] => [
      'Runtime',
      `${each.name} ${each.version} at ${each.path}${each.isDefault ? ' (default)' : ''}`,
    ]),
  ];
  for (const [name, value] of lines) context.print(`${name.padEnd(12)}${value}`);
}

/** ContainerConfig: checked, defaulted, and turned into the container service's terms. */
import { isUtf8 } from 'node:buffer';
import type { ContainerConfig } from '../containers/index.ts';
import type { ContainerConfig as CriContainerConfig, Device, KeyValue } from '../generated/cri.js';
import type { PodConfig } from '../pods/index.ts';
import { absolutePath, invalid, noNul, required } from './fields.ts';
import { parseCdiDevices } from './parse-cdi.ts';
import { parseMount } from './parse-mount.ts';
import type { HostSecurity } from './parse-pod.ts';
import { parseResources } from './parse-resources.ts';
import { parseSecurity } from './parse-security.ts';
import { refuseResourceClasses } from './resource-classes.ts';
import { linuxSignal } from './signals.ts';

/** What the pod that the container is for has to say: its own configuration and what its runtime handler can do. */
export interface PodFacts {
  readonly config: PodConfig;
  readonly recursiveReadOnlyMounts: boolean;
}

export function parseContainer(config: CriContainerConfig | null, pod: PodFacts, host: HostSecurity): ContainerConfig {
  const given = required('config', config);
  const metadata = required('config.metadata', given.metadata);
  const image = required('config.image', given.image);
  if (given.windows) throw invalid('config.windows', 'this is a Linux host');
  refuseResourceClasses(metadata.name, given.annotations, pod.config.annotations);
  const { linux } = given;
  const mountFacts = { ...pod, userNamespace: pod.config.userNamespace !== undefined };
  const text = (field: string) => (value: string, index: number) => noNul(`config.${field}[${index}]`, value);
  return {
    name: required('config.metadata.name', metadata.name),
    attempt: metadata.attempt,
    image: required('config.image.image', image.image),
    userSpecifiedImage: image.userSpecifiedImage,
    command: given.command.map(text('command')),
    args: given.args.map(text('args')),
    workingDir: given.workingDir === '' ? '' : absolutePath('config.working_dir', given.workingDir),
    env: given.envs.map((variable, index) => parseVariable(`config.envs[${index}]`, variable)),
    mounts: given.mounts.map((mount, index) => parseMount(`config.mounts[${index}]`, mount, mountFacts)),
    devices: given.devices.map((device, index) => parseDevice(`config.devices[${index}]`, device)),
    cdiDevices: parseCdiDevices(given.CDIDevices, given.annotations),
    labels: given.labels,
    annotations: given.annotations,
    logPath: parseLogPath('config.log_path', given.logPath),
    stdin: given.stdin,
    stdinOnce: given.stdinOnce,
    tty: given.tty,
    resources: parseResources('config.linux.resources', linux?.resources ?? null),
    security: parseSecurity('config.linux.security_context', linux?.securityContext ?? null, pod.config, host),
    stopSignal: linuxSignal('config.stop_signal', given.stopSignal),
  };
}

/** The runtime spec is JSON, so a value that is no text can't reach the container; it may be secret and is not shown. */
function parseVariable(field: string, { key, value }: KeyValue): { key: string; value: string } {
  noNul(`${field}.key`, required(`${field}.key`, key));
  if (key.includes('=')) throw invalid(`${field}.key`, `${JSON.stringify(key)} has an equals sign`);
  if (!isUtf8(value)) throw invalid(`${field}.value`, `the value of ${key} is not UTF-8`);
  return { key, value: noNul(`${field}.value`, Buffer.from(value).toString('utf8')) };
}

function parseDevice(
  field: string,
  { hostPath, containerPath, permissions }: Device,
): ContainerConfig['devices'][number] {
  if (!/^[rwm]*$/.test(permissions)) {
    throw invalid(`${field}.permissions`, `${JSON.stringify(permissions)} is not of the letters r, w and m`);
  }
  return {
    hostPath: absolutePath(`${field}.host_path`, required(`${field}.host_path`, hostPath)),
    containerPath: containerPath === '' ? hostPath : absolutePath(`${field}.container_path`, containerPath),
    permissions,
  };
}

function parseLogPath(field: string, path: string): string {
  const escapes = path.startsWith('/') || path.split('/').includes('..');
  if (escapes) throw invalid(field, `${JSON.stringify(path)} is not below the pod's log directory`);
  return noNul(field, path);
}

/** Requests as they arrive: written as objects, encoded and decoded again. */

import { type PodFacts, parseContainer } from '../../../src/cri/parse-container.ts';
import { parsePod } from '../../../src/cri/parse-pod.ts';
import {
  ContainerConfig,
  type IContainerConfig,
  type ILinuxContainerSecurityContext,
  type ILinuxSandboxSecurityContext,
  type IPodSandboxConfig,
  PodSandboxConfig,
} from '../../../src/generated/cri.js';

const PLAIN_HOST = { selinuxEnabled: false };

export function podRequest(config: IPodSandboxConfig = {}): PodSandboxConfig {
  const whole = { metadata: { name: 'web', namespace: 'shop', uid: 'u-1' }, ...config };
  return PodSandboxConfig.decode(PodSandboxConfig.encode(whole).finish());
}

export function pod(config: IPodSandboxConfig = {}, host = PLAIN_HOST) {
  return parsePod(podRequest(config), '', host);
}

export function securePod(securityContext: ILinuxSandboxSecurityContext, host = PLAIN_HOST) {
  return pod({ linux: { securityContext } }, host);
}

export function containerRequest(config: IContainerConfig = {}): ContainerConfig {
  const whole = { metadata: { name: 'app' }, image: { image: 'alpine' }, ...config };
  return ContainerConfig.decode(ContainerConfig.encode(whole).finish());
}

export interface Surroundings {
  readonly pod?: ReturnType<typeof pod>;
  readonly recursiveReadOnlyMounts?: boolean;
  readonly selinuxEnabled?: boolean;
}

export function container(config: IContainerConfig = {}, surroundings: Surroundings = {}) {
  const { recursiveReadOnlyMounts = false, selinuxEnabled = false } = surroundings;
  const facts: PodFacts = { config: surroundings.pod ?? pod(), recursiveReadOnlyMounts };
  return parseContainer(containerRequest(config), facts, { selinuxEnabled });
}

export function secureContainer(securityContext: ILinuxContainerSecurityContext, surroundings: Surroundings = {}) {
  return container({ linux: { securityContext } }, surroundings).security;
}

/** What `work` throws, as `kind: message`. */
export function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    const { kind, message } = error as { kind?: string; message: string };
    return `${kind}: ${message}`;
  }
  return 'accepted';
}

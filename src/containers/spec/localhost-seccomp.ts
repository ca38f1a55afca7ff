/** A seccomp profile that lies on the node, in the OCI form that the kubelet's administrators write. */
import { open } from 'node:fs/promises';
import { CairnError, messageOf } from '../../base/errors.ts';
import type { SeccompSpec } from './oci.ts';

const PROFILE_BYTES_MAX = 1 << 20;

/** InvalidArgument naming the file when it can't be read or is no profile. The runtime checks the names in it. */
export async function readSeccompProfile(path: string): Promise<SeccompSpec> {
  let profile: unknown;
  try {
    profile = JSON.parse(await readBounded(path));
  } catch (error) {
    throw refuse(path, messageOf(error), error);
  }
  if (!isProfile(profile)) throw refuse(path, 'no JSON object with a defaultAction and a list of syscalls');
  return profile;
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new Error('no regular file');
    if (status.size > PROFILE_BYTES_MAX) throw new Error(`larger than ${PROFILE_BYTES_MAX} bytes`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

function isProfile(value: unknown): value is SeccompSpec {
  if (typeof value !== 'object' || value === null) return false;
  if (!('defaultAction' in value) || typeof value.defaultAction !== 'string') return false;
  const syscalls = 'syscalls' in value ? value.syscalls : [];
  return (
    Array.isArray(syscalls) &&
    syscalls.every((rule: unknown) => typeof rule === 'object' && rule !== null && 'names' in rule && 'action' in rule)
  );
}

function refuse(path: string, why: string, cause?: unknown): CairnError {
  return new CairnError('InvalidArgument', `seccomp profile ${path}: ${why}`, { step: 'container.seccomp', cause });
}

/**
 * How systemd lays out its units in the cgroup tree (systemd.slice(5)), and how an OCI runtime is told of one:
 * `SLICE:PREFIX:NAME` is the scope `PREFIX-NAME.scope` in that slice.
 */
import { access } from 'node:fs/promises';

const SLICE = /^(?:[A-Za-z0-9:_.\\]+(?:-[A-Za-z0-9:_.\\]+)*)\.slice$/;

/** `a-b.slice` lies at `/a.slice/a-b.slice`; undefined for what names no slice. `-.slice`, the root, is none here. */
export function slicePath(slice: string): string | undefined {
  if (!SLICE.test(slice)) return undefined;
  const parts = slice.slice(0, -'.slice'.length).split('-');
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('-')}.slice`).join('');
}

export interface ScopeName {
  readonly slice: string;
  /** `cairn-ID.scope`. */
  readonly scope: string;
}

/** What a systemd `cgroupsPath` names; undefined for a path, which the cgroupfs driver has. */
export function parseScopePath(cgroupsPath: string): ScopeName | undefined {
  const [, slice, prefix, name] = /^([^/:]+):([^/:]+):([^/:]+)$/.exec(cgroupsPath) ?? [];
  return slice === undefined ? undefined : { slice, scope: `${prefix}-${name}.scope` };
}

/** Whether systemd runs this host (sd_booted(3)). */
export async function isSystemdBooted(): Promise<boolean> {
  return access('/run/systemd/system').then(
    () => true,
    () => false,
  );
}

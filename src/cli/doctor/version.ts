/** Versions as programs print them: `conmon version 2.1.6`, `1.1.5+ds1`, `6.18.44-fc`. */
export type Version = readonly [number, number, number];

/** The first version in `text`; undefined when there is none. */
export function parseVersion(text: string): Version | undefined {
  const [, major, minor, patch] = /(\d+)\.(\d+)(?:\.(\d+))?/.exec(text) ?? [];
  return major === undefined || minor === undefined ? undefined : [Number(major), Number(minor), Number(patch ?? 0)];
}

export function isAtLeast(version: Version, least: Version): boolean {
  const difference = version.map((part, index) => part - (least[index] ?? 0)).find((part) => part !== 0);
  return (difference ?? 0) > 0 || difference === undefined;
}

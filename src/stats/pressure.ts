/** Pressure stall information (Documentation/accounting/psi.rst), which a v2 hierarchy has for each cgroup. */
import { type CgroupDirectories, readText } from './cgroup-files.ts';

/** How long tasks waited for a resource. */
export interface Stall {
  readonly totalNs: number;
  /** Percent of the last 10, 60 and 300 seconds. */
  readonly average10: number;
  readonly average60: number;
  readonly average300: number;
}

export interface Pressure {
  /** At least one task waited. */
  readonly some: Stall;
  /** All of them did. Kernels before 5.13 have none for the CPU: nothing then. */
  readonly full: Stall;
}

export interface Pressures {
  readonly cpu: Pressure | undefined;
  readonly memory: Pressure | undefined;
  readonly io: Pressure | undefined;
}

/** In a hybrid layout too, where the v2 hierarchy has no controllers but these. */
export async function readPressures({ unified }: CgroupDirectories): Promise<Pressures> {
  const read = async (resource: string) => parsePressure(await readText(unified, `${resource}.pressure`));
  const [cpu, memory, io] = await Promise.all([read('cpu'), read('memory'), read('io')]);
  return { cpu, memory, io };
}

const NO_STALL: Stall = { totalNs: 0, average10: 0, average60: 0, average300: 0 };

export function parsePressure(text: string | undefined): Pressure | undefined {
  if (text === undefined) return undefined;
  const stalls: Record<string, Stall> = {};
  const line = /^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)$/gm;
  for (const [, kind = '', average10, average60, average300, totalUs] of text.matchAll(line)) {
    stalls[kind] = {
      totalNs: Number(totalUs) * 1000,
      average10: Number(average10),
      average60: Number(average60),
      average300: Number(average300),
    };
  }
  const { some, full = NO_STALL } = stalls;
  return some && { some, full };
}

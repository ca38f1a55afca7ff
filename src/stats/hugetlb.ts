/** Huge pages of a cgroup, for each page size of the host. */
import { readdir } from 'node:fs/promises';
import { type CgroupDirectories, isAbsent, readNumber } from './cgroup-files.ts';

export interface HugePages {
  /** `2MB`, as the cgroup's files are named. */
  readonly pageSize: string;
  readonly usageBytes: number;
  /** v1 alone counts it. */
  readonly maxUsageBytes: number | undefined;
}

let sizes: Promise<string[]> | undefined;

export async function readHugePages(cgroup: CgroupDirectories): Promise<HugePages[]> {
  const { hugetlb, unified } = cgroup;
  const v1 = hugetlb !== undefined;
  sizes ??= pageSizes();
  const found = await Promise.all(
    (await sizes).map(async (pageSize): Promise<HugePages | undefined> => {
      const [usageBytes, maxUsageBytes] = await Promise.all([
        readNumber(hugetlb ?? unified, `hugetlb.${pageSize}.${v1 ? 'usage_in_bytes' : 'current'}`),
        v1 ? readNumber(hugetlb, `hugetlb.${pageSize}.max_usage_in_bytes`) : undefined,
      ]);
      return usageBytes === undefined ? undefined : { pageSize, usageBytes, maxUsageBytes };
    }),
  );
  return found.filter((pages) => pages !== undefined);
}

/** Fixed at boot. */
async function pageSizes(): Promise<string[]> {
  try {
    return (await readdir('/sys/kernel/mm/hugepages')).map(pageSizeName).sort();
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** `hugepages-2048kB` is `2MB`. */
export function pageSizeName(directory: string): string {
  let size = Number(/^hugepages-(\d+)kB$/.exec(directory)?.[1] ?? 0);
  const units = ['KB', 'MB', 'GB'];
  let unit = 0;
  for (; size >= 1024 && size % 1024 === 0 && unit < units.length - 1; unit++) size /= 1024;
  return `${size}${units[unit]}`;
}

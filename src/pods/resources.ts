/** CPU, memory and other limits of a container or of a whole pod, as CRI counts them. */

/** 0 and empty mean "not said"; a limit of -1 means none. */
export interface Resources {
  /** Microseconds; a period without a quota limits nothing. */
  readonly cpuPeriod: number;
  readonly cpuQuota: number;
  readonly cpuShares: number;
  readonly memoryLimitBytes: number;
  /** Memory and swap together. */
  readonly memorySwapLimitBytes: number;
  readonly oomScoreAdj: number;
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly hugepageLimits: readonly { readonly pageSize: string; readonly limitBytes: number }[];
  /** Files of cgroup v2 and what to write into them. */
  readonly unified: Readonly<Record<string, string>>;
}

export const NO_RESOURCES: Resources = {
  cpuPeriod: 0,
  cpuQuota: 0,
  cpuShares: 0,
  memoryLimitBytes: 0,
  memorySwapLimitBytes: 0,
  oomScoreAdj: 0,
  cpusetCpus: '',
  cpusetMems: '',
  hugepageLimits: [],
  unified: {},
};

/** What holds after an update: what it says, and what was before where it says nothing. */
export function mergeResources(before: Resources, update: Resources): Resources {
  const sizes = new Map(before.hugepageLimits.map(({ pageSize, limitBytes }) => [pageSize, limitBytes]));
  for (const { pageSize, limitBytes } of update.hugepageLimits) sizes.set(pageSize, limitBytes);
  return {
    cpuPeriod: update.cpuPeriod || before.cpuPeriod,
    cpuQuota: update.cpuQuota || before.cpuQuota,
    cpuShares: update.cpuShares || before.cpuShares,
    memoryLimitBytes: update.memoryLimitBytes || before.memoryLimitBytes,
    memorySwapLimitBytes: update.memorySwapLimitBytes || before.memorySwapLimitBytes,
    oomScoreAdj: update.oomScoreAdj || before.oomScoreAdj,
    cpusetCpus: update.cpusetCpus || before.cpusetCpus,
    cpusetMems: update.cpusetMems || before.cpusetMems,
    hugepageLimits: Array.from(sizes, ([pageSize, limitBytes]) => ({ pageSize, limitBytes })),
    unified: { ...before.unified, ...update.unified },
  };
}

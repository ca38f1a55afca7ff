/** CPU time of a cgroup (v1 `cpuacct` and `cpu`, v2 `cpu.stat`) and what limits it. */
import { type CgroupDirectories, parseKeyed, parseNumber, readNumber, readText } from './cgroup-files.ts';

export interface CpuTime {
  readonly usageNs: number;
  readonly userNs: number;
  readonly systemNs: number;
}

export interface CpuThrottling {
  readonly periods: number;
  readonly throttledPeriods: number;
  readonly throttledNs: number;
}

export interface CpuLimits {
  /** Undefined: no quota. */
  readonly quotaUs: number | undefined;
  readonly periodUs: number | undefined;
  readonly shares: number | undefined;
}

/** What has no `cpuacct` of v1 has `cpu.stat` of v2, also without the controller. */
export async function readCpuUsageNs(cgroup: CgroupDirectories): Promise<number | undefined> {
  const { cpuacct, unified } = cgroup;
  if (cpuacct !== undefined) return await readNumber(cpuacct, 'cpuacct.usage');
  const text = await readText(unified, 'cpu.stat');
  return text === undefined ? undefined : parseCpuTime(text)?.usageNs;
}

export async function readCpuTime(cgroup: CgroupDirectories): Promise<CpuTime | undefined> {
  const { cpuacct, unified } = cgroup;
  if (cpuacct === undefined) {
    const text = await readText(unified, 'cpu.stat');
    return text === undefined ? undefined : parseCpuTime(text);
  }
  const [usageNs, userNs, systemNs] = await Promise.all([
    readNumber(cpuacct, 'cpuacct.usage'),
    readNumber(cpuacct, 'cpuacct.usage_user'),
    readNumber(cpuacct, 'cpuacct.usage_sys'),
  ]);
  return usageNs === undefined ? undefined : { usageNs, userNs: userNs ?? 0, systemNs: systemNs ?? 0 };
}

/** `cpu.stat` of v2. */
export function parseCpuTime(text: string): CpuTime | undefined {
  const values = parseKeyed(text);
  const nanoseconds = (key: string) => (values.get(key) ?? 0) * 1000;
  if (!values.has('usage_usec')) return undefined;
  return {
    usageNs: nanoseconds('usage_usec'),
    userNs: nanoseconds('user_usec'),
    systemNs: nanoseconds('system_usec'),
  };
}

export async function readThrottling(cgroup: CgroupDirectories): Promise<CpuThrottling | undefined> {
  const text = await readText(cgroup['cpu'] ?? cgroup['unified'], 'cpu.stat');
  return text === undefined ? undefined : parseThrottling(text);
}

/** `cpu.stat` of either version; v1 counts the time in nanoseconds, v2 in microseconds. */
export function parseThrottling(text: string): CpuThrottling | undefined {
  const values = parseKeyed(text);
  const periods = values.get('nr_periods');
  if (periods === undefined) return undefined;
  return {
    periods,
    throttledPeriods: values.get('nr_throttled') ?? 0,
    throttledNs: values.get('throttled_time') ?? (values.get('throttled_usec') ?? 0) * 1000,
  };
}

export async function readCpuLimits(cgroup: CgroupDirectories): Promise<CpuLimits> {
  const { cpu, unified } = cgroup;
  if (cpu !== undefined) {
    const [quotaUs, periodUs, shares] = await Promise.all([
      // -1: no quota.
      readNumber(cpu, 'cpu.cfs_quota_us'),
      readNumber(cpu, 'cpu.cfs_period_us'),
      readNumber(cpu, 'cpu.shares'),
    ]);
    return { quotaUs, periodUs, shares };
  }
  const [max = '', weight] = await Promise.all([readText(unified, 'cpu.max'), readNumber(unified, 'cpu.weight')]);
  return { ...parseCpuMax(max), shares: weight === undefined ? undefined : sharesOfWeight(weight) };
}

/** `cpu.max`: `QUOTA PERIOD`, or `max PERIOD`. */
export function parseCpuMax(text: string): Pick<CpuLimits, 'quotaUs' | 'periodUs'> {
  const [quota, period] = text.trim().split(' ');
  return { quotaUs: parseNumber(quota), periodUs: parseNumber(period) };
}

/** The inverse of what runtimes make of Kubernetes' shares (2 to 262144) as a weight (1 to 10000), which is not exact. */
function sharesOfWeight(weight: number): number {
  return Math.round(2 + ((weight - 1) * 262142) / 9999);
}

import { describe, expect, test } from '@jest/globals';
import { parseKeyed, parseLimit, parseNumber } from '../../../src/stats/cgroup-files.ts';
import { parseCpuMax, parseCpuTime, parseThrottling } from '../../../src/stats/cpu.ts';
import { pageSizeName } from '../../../src/stats/hugetlb.ts';
import { parseBlkio, parseIoStat } from '../../../src/stats/io.ts';
import { parseMemoryStat, workingSet } from '../../../src/stats/memory.ts';
import { devicePair } from '../../../src/stats/metrics/container-metrics.ts';
import { defaultInterface, parseNetDev } from '../../../src/stats/network.ts';
import { parsePressure } from '../../../src/stats/pressure.ts';
import { parseOpenFilesLimit } from '../../../src/stats/processes.ts';

describe('numbers of a cgroup', () => {
  test('are read where there is one, and no limit is none in both versions', () => {
    expect(parseNumber('42\n')).toBe(42);
    expect([parseNumber('max\n'), parseNumber('-1\n'), parseNumber(''), parseNumber(undefined)]).toEqual(
      Array(4).fill(undefined),
    );
    expect(parseLimit('1048576\n')).toBe(1048576);
    expect([parseLimit('max\n'), parseLimit('9223372036854771712\n')]).toEqual([undefined, undefined]);
    expect([...parseKeyed('a 1\nb_c 22\n\nbroken\n')]).toEqual([
      ['a', 1],
      ['b_c', 22],
    ]);
  });
});

describe('CPU', () => {
  test('cpu.stat of v2 has times in microseconds and may have no throttling', () => {
    const text = 'usage_usec 793430\nuser_usec 284409\nsystem_usec 509021\nnice_usec 0\n';
    expect(parseCpuTime(text)).toEqual({ usageNs: 793_430_000, userNs: 284_409_000, systemNs: 509_021_000 });
    expect(parseThrottling(text)).toBeUndefined();
    expect(parseThrottling(`${text}nr_periods 7\nnr_throttled 3\nthrottled_usec 1500\n`)).toEqual({
      periods: 7,
      throttledPeriods: 3,
      throttledNs: 1_500_000,
    });
  });

  test('cpu.stat of v1 has the throttled time in nanoseconds, and no usage', () => {
    const text = 'nr_periods 7\nnr_throttled 3\nthrottled_time 1500000\nnr_bursts 0\nburst_time 0\n';
    expect(parseThrottling(text)).toEqual({ periods: 7, throttledPeriods: 3, throttledNs: 1_500_000 });
    expect(parseCpuTime(text)).toBeUndefined();
  });

  test('cpu.max may have no quota', () => {
    expect(parseCpuMax('50000 100000\n')).toEqual({ quotaUs: 50_000, periodUs: 100_000 });
    expect(parseCpuMax('max 100000\n')).toEqual({ quotaUs: undefined, periodUs: 100_000 });
  });
});

describe('memory.stat', () => {
  const v1 = [
    ...['cache 1', 'rss 2', 'mapped_file 3', 'swap 4', 'pgfault 5', 'pgmajfault 6', 'inactive_file 7'],
    ...['hierarchical_memory_limit 9223372036854771712', 'total_cache 100', 'total_rss 200', 'total_mapped_file 30'],
    ...['total_swap 40', 'total_pgfault 500', 'total_pgmajfault 6', 'total_inactive_file 70', 'total_active_file 80'],
  ].join('\n');
  const v2 = [
    ...['anon 200', 'file 100', 'kernel 9000', 'file_mapped 30', 'inactive_file 70', 'active_file 80'],
    ...['pgfault 500', 'pgmajfault 6'],
  ].join('\n');

  test('means the same in both versions, with the cgroups below', () => {
    const same = {
      ...{ rssBytes: 200, cacheBytes: 100, mappedFileBytes: 30, activeFileBytes: 80, inactiveFileBytes: 70 },
      ...{ pageFaults: 500, majorPageFaults: 6 },
    };
    expect(parseMemoryStat(v1, 'total_')).toEqual({ ...same, swapBytes: 40, kernelBytes: undefined });
    expect(parseMemoryStat(v2, '')).toEqual({ ...same, swapBytes: undefined, kernelBytes: 9000 });
  });

  test('the working set is the usage less inactive file pages, and never negative', () => {
    expect(workingSet(1000, 70)).toBe(930);
    expect(workingSet(10, 70)).toBe(0);
  });
});

describe('pressure', () => {
  test('has totals in nanoseconds and averages in percent', () => {
    const text =
      'some avg10=1.50 avg60=0.25 avg300=0.07 total=613329\nfull avg10=0.00 avg60=0.00 avg300=0.05 total=423800\n';
    expect(parsePressure(text)).toEqual({
      some: { totalNs: 613_329_000, average10: 1.5, average60: 0.25, average300: 0.07 },
      full: { totalNs: 423_800_000, average10: 0, average60: 0, average300: 0.05 },
    });
  });

  test('has no full line for the CPU on old kernels, and nothing where it is switched off', () => {
    const old = parsePressure('some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n');
    expect(old).toMatchObject({ some: { totalNs: 12_000 }, full: { totalNs: 0 } });
    expect([parsePressure(undefined), parsePressure('')]).toEqual([undefined, undefined]);
  });
});

describe('block I/O', () => {
  const expected = [
    { major: '8', minor: '0', readBytes: 4096, writeBytes: 8192, reads: 1, writes: 2 },
    { major: '254', minor: '16', readBytes: 0, writeBytes: 512, reads: 0, writes: 1 },
  ];

  test('io.stat of v2', () => {
    const text =
      '8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n254:16 rbytes=0 wbytes=512 rios=0 wios=1\n7:0\n';
    expect(parseIoStat(text)).toEqual(expected);
    expect(parseIoStat('')).toEqual([]);
  });

  test('the two files of v1', () => {
    const bytes = '8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 0\n254:16 Read 0\n254:16 Write 512\nTotal 12800\n';
    const operations = '8:0 Read 1\n8:0 Write 2\n254:16 Write 1\nTotal 4\n';
    expect(parseBlkio(bytes, operations)).toEqual(expected);
    expect(parseBlkio('Total 0\n', 'Total 0\n')).toEqual([]);
  });

  test('a device number is taken apart as the kernel packs it', () => {
    expect(devicePair(0x803)).toEqual(['8', '3']);
    expect(devicePair(0xfe10)).toEqual(['254', '16']);
    // minor 0x12345 of major 259
    expect(devicePair(0x123 * 2 ** 20 + 259 * 2 ** 8 + 0x45)).toEqual(['259', `${0x12345}`]);
  });
});

describe('network devices', () => {
  const text = [
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '    lo: 3352827344  207345    0    0    0     0          0         0 3352827344  207345    0    0    0     0       0          0',
    'eth0:597162011   30410    1    2    0     0          0         0  2626647   22076    3    4    0     0       0          0',
    '',
  ].join('\n');

  test('have their counters, also when a name touches the first one', () => {
    expect(parseNetDev(text)).toEqual([
      expect.objectContaining({ name: 'lo', rxBytes: 3352827344, txPackets: 207345 }),
      {
        ...{ name: 'eth0', rxBytes: 597162011, rxPackets: 30410, rxErrors: 1, rxDropped: 2 },
        ...{ txBytes: 2626647, txPackets: 22076, txErrors: 3, txDropped: 4 },
      },
    ]);
  });

  test('the default one is eth0, else the first that is no loopback', () => {
    const [lo, eth0] = parseNetDev(text);
    if (!lo || !eth0) throw new Error('not parsed');
    const net1 = { ...eth0, name: 'net1' };
    expect(defaultInterface([lo, net1, eth0])?.name).toBe('eth0');
    expect(defaultInterface([lo, net1])?.name).toBe('net1');
    expect(defaultInterface([lo])).toBeUndefined();
  });
});

describe('the rest', () => {
  test('huge page sizes are named as the cgroup files are', () => {
    expect(['hugepages-2048kB', 'hugepages-1048576kB', 'hugepages-64kB'].map(pageSizeName)).toEqual([
      ...['2MB', '1GB', '64KB'],
    ]);
  });

  test('the limit of open files may be unlimited', () => {
    const limits = (soft: string) =>
      `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${soft.padEnd(20)} 4096                 files\n`;
    expect(parseOpenFilesLimit(limits('1024'))).toBe(1024);
    expect(parseOpenFilesLimit(limits('unlimited'))).toBeUndefined();
  });
});

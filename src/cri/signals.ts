/** CRI's signal numbers (enum Signal in proto/cri/v1/values.proto) and Linux's, which are not the same. */
import { invalid } from './fields.ts';

/** Linux's number at the index that is CRI's; 0 is "the image's". Several names of CRI are one signal of Linux. */
const LINUX_BY_CRI: readonly number[] = [
  0,
  6, // 1 ABRT
  14, // 2 ALRM
  7, // 3 BUS
  17, // 4 CHLD
  17, // 5 CLD
  18, // 6 CONT
  8, // 7 FPE
  1, // 8 HUP
  4, // 9 ILL
  2, // 10 INT
  29, // 11 IO
  6, // 12 IOT
  9, // 13 KILL
  13, // 14 PIPE
  29, // 15 POLL
  27, // 16 PROF
  30, // 17 PWR
  3, // 18 QUIT
  11, // 19 SEGV
  16, // 20 STKFLT
  19, // 21 STOP
  31, // 22 SYS
  15, // 23 TERM
  5, // 24 TRAP
  20, // 25 TSTP
  21, // 26 TTIN
  22, // 27 TTOU
  23, // 28 URG
  10, // 29 USR1
  12, // 30 USR2
  26, // 31 VTALRM
  28, // 32 WINCH
  24, // 33 XCPU
  25, // 34 XFSZ
  // 35 to 65 are RTMIN, RTMIN+1 to RTMIN+15, RTMAX-14 to RTMAX-1 and RTMAX: Linux's 34 to 64 in order.
  ...Array.from({ length: 31 }, (_, index) => 34 + index),
];

/** Undefined for "what the image says". */
export function linuxSignal(field: string, criSignal: number): number | undefined {
  const signal = LINUX_BY_CRI[criSignal];
  if (signal === undefined) throw invalid(field, `${criSignal} is no signal`);
  return signal === 0 ? undefined : signal;
}

/** The first of CRI's numbers for a signal of Linux; 0 for one that CRI has no number for. */
export function criSignal(linux: number): number {
  return Math.max(LINUX_BY_CRI.indexOf(linux), 0);
}

/** The resource limits of containers: those configured, and nofile as the daemon was started with it. */
import { CairnError } from '../base/errors.ts';
import { startingFileLimit } from '../linux/index.ts';

export interface Rlimit {
  readonly type: string;
  readonly soft: number;
  readonly hard: number;
}

const NAMES = ['as', 'core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile', 'nproc'];
const MORE_NAMES = ['rss', 'rtprio', 'rttime', 'sigpending', 'stack'];

/** `nofile=1024:524288`, or one number for both. InvalidArgument otherwise. */
export function parseRlimit(unsafe: string): Rlimit {
  const [, name, soft, hard = soft] = /^([a-z]+)=(\d{1,15})(?::(\d{1,15}))?$/.exec(unsafe) ?? [];
  if (name === undefined || ![...NAMES, ...MORE_NAMES].includes(name)) {
    const allowed = [...NAMES, ...MORE_NAMES].join(', ');
    throw new CairnError(
      'InvalidArgument',
      `containers.rlimits: ${JSON.stringify(unsafe)} is not NAME=SOFT:HARD with one of ${allowed}`,
    );
  }
  if (Number(soft) > Number(hard)) {
    throw new CairnError(
      'InvalidArgument',
      `containers.rlimits: ${JSON.stringify(unsafe)}: the soft limit is above the hard one`,
    );
  }
  return { type: `RLIMIT_${name.toUpperCase()}`, soft: Number(soft), hard: Number(hard) };
}

export function containerRlimits(configured: readonly string[]): Rlimit[] {
  const limits = configured.map(parseRlimit);
  if (limits.some((limit) => limit.type === 'RLIMIT_NOFILE')) return limits;
  const { soft, hard } = startingFileLimit();
  return [...limits, { type: 'RLIMIT_NOFILE', soft: Number(soft), hard: Number(hard) }];
}

/** Images that must not be garbage-collected by the kubelet, by the patterns of the configuration. */
import { formatReference, parseReference } from '../registry/index.ts';

/**
 * A test for names. A pattern is a name as in a pull (`registry.k8s.io/pause:3.10`), or has `*` for any run of
 * characters in the full name (`docker.io/library/*`). InvalidArgument when one can't be read.
 */
export function pinnedMatcher(patterns: readonly string[]): (name: string) => boolean {
  const names = new Set(patterns.filter((pattern) => !pattern.includes('*')).map(fullName));
  const globs = patterns.filter((pattern) => pattern.includes('*')).map(globExpression);
  return (name) => names.has(name) || globs.some((glob) => glob.test(name));
}

function fullName(pattern: string): string {
  return formatReference(parseReference(pattern));
}

function globExpression(pattern: string): RegExp {
  const parts = pattern.split(/\*+/).map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`, 's');
}

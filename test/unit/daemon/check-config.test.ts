import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../../src/config/index.ts';
import { checkConfig } from '../../../src/daemon/check-config.ts';

async function verdict(environment: Readonly<Record<string, string>>): Promise<string> {
  const config = await loadConfig({ file: '/dev/null', environment, flags: new Map() });
  try {
    checkConfig(config);
    return 'good';
  } catch (error) {
    return String(error);
  }
}

describe('a configuration whose values are all well formed', () => {
  test('is good as it comes', async () => {
    expect(await verdict({})).toBe('good');
  });

  test('is refused for a default runtime that is none, an unknown limit, or one directory for both kinds of state', async () => {
    expect(await verdict({ CAIRN_CONTAINERS_DEFAULT_RUNTIME: 'x' })).toContain('default_runtime: x is none of runc');
    expect(await verdict({ CAIRN_CONTAINERS_RLIMITS: 'files=1' })).toContain('"files=1" is not NAME=SOFT:HARD');
    expect(await verdict({ CAIRN_ROOT: '/x', CAIRN_STATE: '/x' })).toContain('both are /x');
  });
});

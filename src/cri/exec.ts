/** ExecSync. */
import type { RuntimeService } from '../generated/cri.js';
import type { Handlers } from '../rpc/index.ts';
import { SECONDS_MAX } from './containers.ts';
import { integer, invalid, noNul } from './fields.ts';
import { find } from './ids.ts';
import type { CriContext } from './index.ts';

export function execHandlers({ containers }: CriContext): Handlers<typeof RuntimeService> {
  return {
    async execSync({ containerId, cmd, timeout }, { signal }) {
      if (cmd.length === 0) throw invalid('cmd', 'is required');
      const command = cmd.map((word, index) => noNul(`cmd[${index}]`, word));
      const seconds = Math.min(integer('timeout', timeout, { min: 0, max: Number.MAX_VALUE }), SECONDS_MAX);
      const { id } = find(containers, 'container_id', containerId);
      const { exitCode, stdout, stderr } = await containers.execSync(id, command, seconds, signal);
      return { exitCode, stdout, stderr };
    },
  };
}

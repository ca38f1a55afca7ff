/** Exec, Attach and PortForward: the request is checked here, its stream is served at the URL in the answer. */

import { CairnError } from '../base/errors.ts';
import type { Container } from '../containers/index.ts';
import type { RuntimeService } from '../generated/cri.js';
import type { Handlers } from '../rpc/index.ts';
import { integer, invalid, noNul } from './fields.ts';
import { find } from './ids.ts';
import type { CriContext } from './index.ts';

const PORT_MAX = 65_535;

interface StreamFields {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export function streamHandlers({ containers, pods, streaming }: CriContext): Handlers<typeof RuntimeService> {
  function runningContainer(unsafeId: string): Container {
    const container = find(containers, 'container_id', unsafeId);
    if (container.state === 'running') return container;
    throw new CairnError('FailedPrecondition', `container ${container.id} is ${container.state}, not running`, {
      step: 'cri.stream',
    });
  }

  return {
    exec(request) {
      if (request.cmd.length === 0) throw invalid('cmd', 'is required');
      const command = request.cmd.map((word, index) => noNul(`cmd[${index}]`, word));
      const streams = parseStreams(request);
      const { id: containerId } = runningContainer(request.containerId);
      return { url: streaming.execUrl({ containerId, command, ...streams }) };
    },

    attach(request) {
      const streams = parseStreams(request);
      const { id: containerId } = runningContainer(request.containerId);
      return { url: streaming.attachUrl({ containerId, ...streams }) };
    },

    portForward(request) {
      const pod = find(pods, 'pod_sandbox_id', request.podSandboxId);
      if (pod.state !== 'ready') {
        throw new CairnError('FailedPrecondition', `pod sandbox ${pod.id} is ${pod.state}, not ready`, {
          step: 'cri.stream',
        });
      }
      const ports = request.port.map((port, index) => integer(`port[${index}]`, port, { min: 1, max: PORT_MAX }));
      return { url: streaming.portForwardUrl({ podSandboxId: pod.id, ports }) };
    },
  };
}

function parseStreams({ tty, stdin, stdout, stderr }: StreamFields): StreamFields {
  if (tty && stderr) throw invalid('stderr', 'a terminal has one output only');
  if (!stdin && !stdout && !stderr) throw invalid('stdin, stdout, stderr', 'at least one is required');
  return { tty, stdin, stdout, stderr };
}

/** Execs and attachments as targets of a remote command. */
import type { AttachRequest, ExecRequest, StreamingServerOptions } from './index.ts';
import type { CommandTarget } from './remote-command.ts';
import { exitStatus } from './status.ts';

export async function openExec(
  containers: StreamingServerOptions['containers'],
  request: ExecRequest,
  signal: AbortSignal,
): Promise<CommandTarget> {
  const { containerId, command, tty: terminal, stdin, stdout, stderr } = request;
  const exec = await containers.openExec(containerId, command, { terminal, stdin, stdout, stderr, signal });
  const status = exec.exitCode.then(exitStatus);
  // Whoever breaks off does not wait for it.
  status.catch(() => {});
  return { ...exec, status };
}

/** The end of the container is the end of the attachment, and no failure of it. */
export async function openAttachment(
  containers: StreamingServerOptions['containers'],
  request: AttachRequest,
): Promise<CommandTarget> {
  const { containerId, stdin, stdout, stderr } = request;
  const attachment = await containers.attach(containerId, { stdin, stdout, stderr });
  return { ...attachment, status: attachment.ended.then(() => ({ kind: 'success' })) };
}

/** How a command ended, as the last word on the error stream: `metav1.Status` (v4 and v5), or text on failure (before). */

export type CommandStatus =
  | { readonly kind: 'success' }
  | { readonly kind: 'exit'; readonly exitCode: number }
  | { readonly kind: 'failure'; readonly message: string };

export function exitStatus(exitCode: number): CommandStatus {
  return exitCode === 0 ? { kind: 'success' } : { kind: 'exit', exitCode };
}

export function statusText(status: CommandStatus, asJson: boolean): string {
  if (asJson) return JSON.stringify(statusObject(status));
  switch (status.kind) {
    case 'success':
      return '';
    case 'exit':
      return `command terminated with exit code ${status.exitCode}`;
    case 'failure':
      return status.message;
  }
}

function statusObject(status: CommandStatus): object {
  switch (status.kind) {
    case 'success':
      return { metadata: {}, status: 'Success' };
    case 'exit':
      return {
        ...{ metadata: {}, status: 'Failure', reason: 'NonZeroExitCode' },
        message: `command terminated with non-zero exit code: ${status.exitCode}`,
        details: { causes: [{ reason: 'ExitCode', message: String(status.exitCode) }] },
      };
    case 'failure':
      return { ...{ metadata: {}, status: 'Failure', reason: 'InternalError', code: 500 }, message: status.message };
  }
}

/** The runtime handlers that a request may name. */
import { CairnError } from '../base/errors.ts';
import { invalid } from './fields.ts';
import type { CriContext, HandlerInfo } from './index.ts';

type Handlers = Pick<CriContext, 'runtimeHandlers' | 'defaultRuntime'>;

/** The handler of that name, the default one for none; undefined when it is not configured (any more). */
export function handlerNamed(name: string, { runtimeHandlers, defaultRuntime }: Handlers): HandlerInfo | undefined {
  return runtimeHandlers.find((handler) => handler.name === (name || defaultRuntime));
}

/** FailedPrecondition, with the reason, where pods can't have user namespaces. */
export function checkUserNamespaces(field: string, name: string, handlers: Handlers): void {
  const handler = handlerNamed(name, handlers);
  if (!handler || handler.features.userNamespaces) return;
  const why = handler.userNamespaceObstacle ?? 'the runtime has no ID-mapped mounts';
  throw new CairnError('FailedPrecondition', `${field}: no user namespaces here: ${why}`, { step: 'cri.request' });
}

/** Refuses a handler that is not configured, naming those that are. */
export function checkHandler(field: string, name: string, handlers: Handlers): void {
  if (name === '' || handlerNamed(name, handlers)) return;
  const known = handlers.runtimeHandlers.map((handler) => handler.name).join(', ');
  throw invalid(field, `no runtime handler ${JSON.stringify(name)} is configured; there are: ${known}`);
}

/** The runtime handlers that a request may name. */
import { invalid } from './fields.ts';
import type { CriContext, HandlerInfo } from './index.ts';

type Handlers = Pick<CriContext, 'runtimeHandlers' | 'defaultRuntime'>;

/** The handler of that name, the default one for none; undefined when it is not configured (any more). */
export function handlerNamed(name: string, { runtimeHandlers, defaultRuntime }: Handlers): HandlerInfo | undefined {
  return runtimeHandlers.find((handler) => handler.name === (name || defaultRuntime));
}

/** Refuses a handler that is not configured, naming those that are. */
export function checkHandler(field: string, name: string, handlers: Handlers): void {
  if (name === '' || handlerNamed(name, handlers)) return;
  const known = handlers.runtimeHandlers.map((handler) => handler.name).join(', ');
  throw invalid(field, `no runtime handler ${JSON.stringify(name)} is configured; there are: ${known}`);
}

/**
 * Failpoints: named places where a test makes the daemon die, fail or wait.
 *
 * `CAIRN_FAILPOINTS="content.commit.rename=crash;task.start=error;cni.add=delay:200"`; a count behind an at sign
 * (`task.start=crash@3`) acts on that hit only. Without the variable a failpoint costs one comparison.
 */
import { CairnError } from './errors.ts';

type Action = { readonly verb: 'crash' | 'error' | 'delay'; readonly delayMs: number; readonly onlyHit: number };

const armed = parse(process.env['CAIRN_FAILPOINTS']);
const hits = new Map<string, number>();

/** Passes, or does what the environment asks for at `name`. */
export function failpoint(name: string): Promise<void> | undefined {
  return armed === undefined ? undefined : act(name, armed.get(name));
}

async function act(name: string, action: Action | undefined): Promise<void> {
  if (!action) return;
  const hit = (hits.get(name) ?? 0) + 1;
  hits.set(name, hit);
  if (action.onlyHit !== 0 && action.onlyHit !== hit) return;
  if (action.verb === 'crash') process.kill(process.pid, 'SIGKILL');
  if (action.verb === 'error') throw new CairnError('Internal', `failpoint ${name}`, { step: name });
  await new Promise((resolve) => setTimeout(resolve, action.verb === 'crash' ? 1000 : action.delayMs));
}

function parse(text: string | undefined): ReadonlyMap<string, Action> | undefined {
  if (!text) return undefined;
  const actions = new Map<string, Action>();
  for (const part of text.split(';').filter(Boolean)) {
    const match = /^([\w.-]+)=(crash|error|delay)(?::(\d+))?(?:@(\d+))?$/.exec(part.trim());
    const [, name, verb, delay, hit] = match ?? [];
    if (!name || !verb) throw new Error(`CAIRN_FAILPOINTS: cannot read ${JSON.stringify(part)}`);
    actions.set(name, { verb: verb as Action['verb'], delayMs: Number(delay ?? 100), onlyHit: Number(hit ?? 0) });
  }
  return actions;
}

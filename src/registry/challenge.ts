/** WWW-Authenticate (RFC 9110, 11.6.1): a list of challenges, each a scheme with parameters. */

export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

const LENGTH_MAX = 16 * 1024;
const CHALLENGES_MAX = 16;
const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const SPACES = /[ \t]*/y;
/** Opaque credentials behind a scheme (`Negotiate abc==`): no scheme that we speak has them. */
const TOKEN_68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/** The challenges in `header`; what can't be read ends the list, because nothing after it can be trusted. */
export function parseChallenges(header: string | undefined): Challenge[] {
  const text = (header ?? '').slice(0, LENGTH_MAX);
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  let at = 0;

  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) at = pattern.lastIndex;
    return match?.[0];
  };
  const takeQuoted = (): string | undefined => {
    let value = '';
    for (at++; at < text.length; at++) {
      const character = text[at];
      if (character === '"') {
        at++;
        return value;
      }
      if (character === '\\') at++;
      value += text[at] ?? '';
    }
    return undefined;
  };

  while (at < text.length && challenges.length < CHALLENGES_MAX) {
    take(SPACES);
    if (text[at] === ',') {
      at++;
      continue;
    }
    const word = take(TOKEN);
    if (word === undefined) break;
    const current = challenges.at(-1);
    const afterWord = at;
    take(SPACES);
    if (text[at] === '=' && current) {
      at++;
      take(SPACES);
      const value = text[at] === '"' ? takeQuoted() : (take(TOKEN) ?? '');
      if (value === undefined) break;
      current.parameters[word.toLowerCase()] ??= value;
      continue;
    }
    challenges.push({ scheme: word.toLowerCase(), parameters: Object.create(null) as Record<string, string> });
    // A scheme's first parameter follows after a space; a lone word after it is token68.
    if (at > afterWord && !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*=(?!=)/.test(text.slice(at))) take(TOKEN_68);
  }
  return challenges.map(({ scheme, parameters }) => ({ scheme, parameters: { ...parameters } }));
}

import { createContext, Script } from 'node:vm';

/** A longer pattern is no pattern that anybody needs. */
const patternLengthMax = 1_024;
/** So long may one pattern hold up every other call; one that backtracks without end is cut off. */
const matchTimeLimitMs = 200;

/** Runs in a context of its own because that is how V8 offers to interrupt a regular expression. */
const search = new Script(`
  const expression = new RegExp(pattern);
  const found = [];
  for (const key of keys) if (expression.test(key)) found.push(key);
  found;
`);

/**
 * The keys in which an ECMAScript pattern occurs, anywhere. Null when it is no pattern, too long, or
 * takes too long.
 */
export function matchKeys(pattern: string, keys: Iterable<string>): string[] | null {
  if (pattern.length > patternLengthMax) return null;
  try {
    const scope = createContext({ pattern, keys });
    return [...(search.runInContext(scope, { timeout: matchTimeLimitMs }) as string[])];
  } catch {
    return null;
  }
}

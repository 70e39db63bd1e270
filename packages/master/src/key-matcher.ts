import { type Context, createContext, Script } from 'node:vm';
import type { KeyMatcher } from './core/object-walker.ts';

/** A longer pattern is no pattern that anybody needs. */
const patternLengthMax = 1_024;
/** So long may one pattern hold up every other call; one that backtracks without end is cut off. */
const matchTimeLimitMs = 50;

/** Both run in a context of its own because that is how V8 offers to interrupt a regular expression. */
const compile = new Script('const expression = new RegExp(pattern);');
const search = new Script(`
  found = [];
  for (let at = 0; at < keys.length; at += 1) if (expression.test(keys[at])) found.push(at);
  undefined;
`);

/** Patterns are ECMAScript's, and occur anywhere in a key. */
export const keyMatcher: KeyMatcher = (pattern) => {
  if (pattern.length > patternLengthMax) return null;
  const scope = { pattern, keys: [] as readonly string[], found: [] as readonly number[] };
  createContext(scope);
  if (!hasRun(compile, scope)) return null;
  return (keys) => {
    scope.keys = keys;
    return hasRun(search, scope) ? [...scope.found] : null;
  };
};

function hasRun(script: Script, scope: Context): boolean {
  try {
    script.runInContext(scope, { timeout: matchTimeLimitMs });
    return true;
  } catch {
    return false;
  }
}

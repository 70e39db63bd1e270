import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Fault, type Logger } from '@tsukimi/base';
import { policies } from './core/policies/by-name.ts';
import { leastLoad } from './core/policies/least-load.ts';
import type { Choice, Policy } from './core/policies/policy.ts';
import type { InstanceKind } from './core/pool-instance.ts';
import type { ProxyOptions } from './options.ts';

export type LegPolicies = Readonly<Record<InstanceKind, Policy>>;

/**
 * The policies that the options name: built in, or the default export of a file, a path that ends in
 * `.js` or `.mjs`. Throws `MISCONFIGURED` for a file that cannot be loaded or exports no policy.
 */
export async function loadPolicies(options: ProxyOptions, logger: Logger): Promise<LegPolicies> {
  const named = (name: string) => (isFile(name) ? fromFile(name, logger) : builtIn(name));
  return {
    prefill: await named(options.prefillScheduling ?? options.scheduling),
    decode: await named(options.decodeScheduling ?? options.scheduling),
  };
}

/** Throws `MISCONFIGURED` where the options name a file. */
export function builtInPolicies(options: ProxyOptions): LegPolicies {
  return {
    prefill: builtIn(options.prefillScheduling ?? options.scheduling),
    decode: builtIn(options.decodeScheduling ?? options.scheduling),
  };
}

/** Whether `--scheduling` names a file. */
export function isFile(name: string): boolean {
  return /\.m?js$/.test(name);
}

function builtIn(name: string): Policy {
  const policy: Policy | undefined = Object.entries(policies).find(([one]) => one === name)?.[1];
  if (policy === undefined) throw new Fault('MISCONFIGURED', `there is no policy "${name}"`);
  return policy;
}

async function fromFile(path: string, logger: Logger): Promise<Policy> {
  let loaded: { default?: unknown };
  try {
    loaded = (await import(pathToFileURL(resolve(path)).href)) as typeof loaded;
  } catch (error) {
    throw new Fault('MISCONFIGURED', `--scheduling ${path}: ${(error as Error).message}`);
  }
  const given = Object(loaded.default) as Partial<Policy>;
  if (typeof given.choose !== 'function') {
    const reason = 'its default export has no function `choose`';
    throw new Fault('MISCONFIGURED', `--scheduling ${path}: ${reason}`);
  }
  const reads = Array.isArray(given.reads) ? given.reads : [];
  return guarded(path, { reads, choose: given.choose.bind(given) as Policy['choose'] }, logger);
}

/** What a policy of a user's own does wrong costs its choice, and a line in the log, once. */
function guarded(path: string, policy: Policy, logger: Logger): Policy {
  let warned = false;
  return {
    reads: policy.reads,
    choose(snapshot) {
      let flaw = 'it chose nobody of the candidates';
      try {
        const choice: Partial<Choice> = policy.choose(snapshot);
        const instance = snapshot.candidates.find((one) => one === choice.instance);
        if (instance !== undefined) {
          const { reason = 'own', hitTokenCount = 0 } = choice;
          // It goes into sums that live as long as the instance.
          const isCount = Number.isFinite(hitTokenCount) && hitTokenCount >= 0;
          return { instance, reason: String(reason), hitTokenCount: isCount ? hitTokenCount : 0 };
        }
      } catch (error) {
        flaw = String(error);
      }
      if (!warned) logger.warn('proxy.policy_failed', { path, flaw, instead: 'least_load' });
      warned = true;
      return { ...leastLoad.choose(snapshot), reason: 'policy_failed' };
    },
  };
}

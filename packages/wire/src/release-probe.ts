/**
 * Which release a master speaks, found out without a trace. Masters tell nothing of their release: they
 * answer a call that they lack with another error than one whose arguments they cannot read. So calls that came
 * with a release are sent without arguments, and no handler ever runs. 0.3.12 came without new calls
 * but with tenants, so there a key is asked for that nobody has.
 */
import { RpcError } from './frame.ts';
import { masterProtocol } from './master-protocol.ts';
import type { Method } from './protocol.ts';
import type { MasterRelease } from './releases.ts';

type Probe = Method<readonly [], unknown>;

const withoutArguments = ({ functionId, response }: Method<any, unknown>): Probe => ({
  functionId,
  request: null,
  response,
  callerAt: -1,
});

/** Calls to be made without arguments, except `ExistKey`, which gets `releaseProbeKey`. */
export const releaseProbes = {
  '0.3.14': withoutArguments(masterProtocol.ProbeKey),
  '0.3.13': withoutArguments(masterProtocol.DynamicReplicaCopyEnd),
  '0.3.12': masterProtocol.ExistKey,
  '0.3.11': withoutArguments(masterProtocol.MountNoFSegment),
  '0.3.10.post2': withoutArguments(masterProtocol.UpsertStart),
  '0.3.10': withoutArguments(masterProtocol.EvictDiskReplica),
} as const;

export const releaseProbeKey = ['tsukimi-release-probe', 'default'] as const;

/** What a probe came to: null for an answer, else the RPC error. */
export type ProbeOutcome = number | null;

/** The newest release of which the master knows the probe. */
export function releaseOf(
  outcomes: Readonly<Record<keyof typeof releaseProbes, ProbeOutcome>>,
): MasterRelease {
  const probed = Object.keys(releaseProbes) as (keyof typeof releaseProbes)[];
  const isKnown = (release: keyof typeof releaseProbes) =>
    release === '0.3.12'
      ? outcomes[release] === null
      : outcomes[release] !== RpcError.NOT_REGISTERED;
  return probed.find(isKnown) ?? '0.3.9';
}

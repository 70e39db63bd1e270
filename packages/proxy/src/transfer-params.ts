import { Fault } from '@tsukimi/base';
import { JsonMembers } from './json-members.ts';

/** By which an engine is told whose KV, or whose encoder's output, it is to fetch or to hand over. */
const transferParams = ['kv_transfer_params', 'ec_transfer_params'] as const;

/** Objects that may hold such parameters too, and what of these again. */
interface Places {
  readonly [name: string]: Places;
}

/** vLLM makes `SamplingParams.extra_args` of the first two, and reads the parameters there. */
const places: Places = { vllm_xargs: {}, sampling_params: { extra_args: {} } };

const openBrace = 0x7b;

/**
 * A client's request without the parameters by which it could reach into others' KV, or end an engine that
 * trusts them (vLLM's engine core fails on values that are no objects). The same when there are none.
 * Throws `INVALID_ARGUMENT` for a place with too many members to look into.
 */
export function withoutTransferParams(members: JsonMembers): JsonMembers {
  const bytes = cleaned(members, places);
  return bytes === null ? members : JsonMembers.parse(bytes);
}

/** Null when nothing is to be cut. */
function cleaned(members: JsonMembers, within: Places): Buffer | null {
  const set: Record<string, string> = {};
  for (const name of Object.keys(within)) {
    const value = members.raw(name);
    if (value?.[0] !== openBrace) continue;
    const bytes = cleaned(parsed(name, value), within[name] ?? {});
    if (bytes !== null) set[name] = bytes.toString('utf8');
  }
  const cut = transferParams.filter((name) => members.raw(name) !== null);
  if (cut.length === 0 && Object.keys(set).length === 0) return null;
  return members.patched({ set, delete: cut });
}

function parsed(name: string, value: Buffer): JsonMembers {
  const members = JsonMembers.tryParse(value);
  if (members === null) throw new Fault('INVALID_ARGUMENT', `"${name}" has too many members`);
  return members;
}

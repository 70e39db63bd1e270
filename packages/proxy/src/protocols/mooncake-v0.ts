import { JsonMembers } from '../json-members.ts';
import { endedByLength } from './answers.ts';
import { nixl } from './nixl.ts';
import type { PdProtocol } from './protocol.ts';

/**
 * The connector that Mooncake's wheel brings for vLLM up to 0.12 (`mooncake_connector_v1`). Its fields
 * are those of NIXL's pull mode; it hands over only what ended by its length.
 */
export const mooncakeV0: PdProtocol = {
  ...nixl,
  name: 'mooncake_v0',
  handoverOf(answer, pair) {
    const members = JsonMembers.tryParse(answer);
    return members !== null && endedByLength(members) ? nixl.handoverOf(answer, pair) : null;
  },
};

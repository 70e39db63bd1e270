import { noFacts, type RequestFacts } from './core/policies/policy.ts';
import type { JsonMembers } from './json-members.ts';
import type { RequestTraits } from './request-traits.ts';

/** What an answer is taken to have: limits are often far above what comes. */
const outputTokenCountMax = 256;

/** What policies get to know of a request; costs only what they read. */
export function requestFacts(members: JsonMembers, traits: RequestTraits): RequestFacts {
  const limit = members.scalar('max_completion_tokens') ?? members.scalar('max_tokens');
  return {
    ...noFacts,
    promptTokenCount: traits.promptTokenCount,
    outputTokenCount:
      typeof limit === 'number' && limit >= 0 && limit < outputTokenCountMax
        ? limit
        : outputTokenCountMax,
  };
}

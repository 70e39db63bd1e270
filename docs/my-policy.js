// A policy of one's own: `tsukimi proxy --scheduling ./my-policy.js …`. This one sends long prompts to the
// instance with the fewest prompt tokens ahead, and short ones where the fewest requests are.
export default {
  // What else it wants to know: 'prefix' fills hitTokenCounts, 'session' request.sessionKey, 'chance' chance.
  reads: [],
  // `candidates` are those that may be chosen, never none. The same snapshot must give the same choice.
  choose({ candidates, request }) {
    const isLong = request.promptTokenCount > 1_000;
    const ahead = (one) => (isLong ? one.queuedTokenCount : one.activeRequestCount);
    const instance = candidates.reduce((best, one) => (ahead(one) < ahead(best) ? one : best));
    return { instance, reason: isLong ? 'long' : 'short', hitTokenCount: 0 };
  },
};

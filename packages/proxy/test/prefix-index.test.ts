import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blockByteCount, blockHashes } from '../src/core/block-hashes.ts';
import { PrefixIndex } from '../src/core/prefix-index.ts';
import { JsonMembers } from '../src/json-members.ts';
import { requestFacts } from '../src/request-facts.ts';
import { traitsOf } from '../src/request-traits.ts';

describe('blockHashes', () => {
  it('is equal up to the block in which texts differ, and not beyond', () => {
    const bytes = fc.uint8Array({ minLength: 4 * blockByteCount, maxLength: 8 * blockByteCount });
    fc.assert(
      fc.property(bytes, fc.nat(), (text, place) => {
        const other = Buffer.from(text);
        const at = place % (4 * blockByteCount);
        other[at] = (other[at] as number) ^ 1;
        const [one, changed] = [blockHashes([Buffer.from(text)]), blockHashes([other])];
        expect(one.length).toBe(Math.floor(text.length / blockByteCount));
        const same = Math.floor(at / blockByteCount);
        expect(changed.slice(0, same)).toEqual(one.slice(0, same));
        for (let block = same; block < one.length; block++) {
          expect(changed[block]).not.toBe(one[block]);
        }
      }),
    );
  });
});

describe('PrefixIndex', () => {
  it('knows the longest beginning that an instance was sent, and forgets with it', () => {
    const index = new PrefixIndex();
    index.dispatched(1, [10, 20, 30]);
    index.dispatched(1, [10, 21]);
    expect(index.heldBlockCount(1, [10, 20, 31])).toBe(2);
    expect(index.heldBlockCount(1, [11])).toBe(0);
    expect(index.heldBlockCount(2, [10])).toBe(0);
    index.forget(1);
    expect(index.heldBlockCount(1, [10])).toBe(0);
  });

  it('keeps to its bounds, and what it holds of a prompt has no gaps', () => {
    const prompts = fc.array(fc.tuple(fc.nat(3), fc.nat(5), fc.nat(12)), { maxLength: 60 });
    fc.assert(
      fc.property(prompts, (given) => {
        const index = new PrefixIndex({ instanceBlockCountMax: 10, blockCountMax: 24 });
        for (const [order, root, length] of given) {
          const hashes = Array.from({ length }, (_, at) => root * 100 + at);
          index.dispatched(order, hashes);
          index.checkInvariants();
          const room = Math.max(...[10, 8, 6].filter((one) => one <= length), 0);
          expect(index.heldBlockCount(order, hashes)).toBeGreaterThanOrEqual(
            Math.min(length, room, 6),
          );
        }
      }),
    );
  });
});

describe('requestFacts', () => {
  const reads = { reads: () => true };
  const factsOf = (body: object, headers = {}) => {
    const members = JsonMembers.parse(Buffer.from(JSON.stringify(body)));
    return requestFacts(members, traitsOf(members, '/v1/chat/completions'), headers, reads);
  };
  const said = 'once upon a time '.repeat(100);

  it('sees the turns of a conversation go on from one another, whatever else is asked', () => {
    const turn = [{ role: 'user', content: said }];
    const first = factsOf({ model: 'm', messages: turn, temperature: 0 });
    const second = factsOf({
      ...{ stream: true, max_tokens: 5, model: 'm' },
      messages: [...turn, { role: 'assistant', content: said }],
    });
    const shared = first.blockHashes.length - 1;
    expect(shared).toBeGreaterThan(4);
    expect(second.blockHashes.slice(0, shared)).toEqual(first.blockHashes.slice(0, shared));
    const other = factsOf({ model: 'adapter', messages: turn });
    expect(other.blockHashes[0]).not.toBe(first.blockHashes[0]);
  });

  it('knows a session by its header, then by the body', () => {
    const body = { model: 'm', prompt: 'x', user: 'someone' };
    expect(factsOf(body, { 'x-session-id': 'one' }).sessionKey).toBe('one');
    expect(factsOf(body).sessionKey).toBe('someone');
    expect(factsOf({ model: 'm', prompt: 'x' }).sessionKey).toBeNull();
  });
});

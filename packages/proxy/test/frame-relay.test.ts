import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameRelay } from '../src/frame-relay.ts';
import { streamForm } from '../src/stream-form.ts';

const relayOf = (stripsTokenIds = true, path = '/v1/completions') =>
  new FrameRelay({ stripsTokenIds, frameByteCountMax: 10_000, form: streamForm(path) });

const frame = (choice: object, id = 'a', created = 1) =>
  `data: ${JSON.stringify({ id, created, choices: [choice] })}\n\n`;
const done = 'data: [DONE]\n\n';

/** Feeds `text` in pieces of the given sizes, in turn. */
function fed(relay: FrameRelay, text: string, sizes: readonly number[] = [1_000]) {
  const bytes = Buffer.from(text);
  const out: Buffer[] = [];
  let ended = false;
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] as number;
    const relayed = relay.push(bytes.subarray(at, at + size));
    if (relayed.bytes !== null) {
      out.push(
        typeof relayed.bytes === 'string' ? Buffer.from(relayed.bytes, 'latin1') : relayed.bytes,
      );
    }
    ended = relayed.ended;
    at += size;
  }
  return { text: Buffer.concat(out).toString(), ended };
}

describe('FrameRelay', () => {
  const choices = fc.array(
    fc.record({ text: fc.string({ unit: 'grapheme' }), ids: fc.array(fc.nat(1e6)) }),
  );
  const sizes = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 });

  it('takes out the ids and nothing else, wherever the network cuts', () => {
    fc.assert(
      fc.property(choices, sizes, (all, cuts) => {
        const relay = relayOf();
        relay.restart('output');
        const told = all.map(({ text, ids }) =>
          frame({ text: `${text},"token_ids":[9]`, finish_reason: null, token_ids: ids }),
        );
        const shown = all.map(({ text }) =>
          frame({ text: `${text},"token_ids":[9]`, finish_reason: null }),
        );
        expect(fed(relay, told.join('') + done, cuts)).toEqual({
          text: shown.join('') + done,
          ended: true,
        });
        expect(relay.tokenIds).toEqual(all.flatMap(({ ids }) => ids));
      }),
    );
  });

  it('passes other engines on byte for byte, in whole events', () => {
    fc.assert(
      fc.property(choices, sizes, fc.constantFrom('\n', '\r\n'), (all, cuts, newline) => {
        const relay = relayOf();
        relay.restart('none');
        const stream = (all.map((one) => frame(one)).join('') + done).replaceAll('\n', newline);
        expect(fed(relay, `${stream}data: {"cut`, cuts).text).toBe(stream);
      }),
    );
  });

  it('keeps the last event back until the end is certain, so that it can be made anew', () => {
    const relay = relayOf();
    relay.restart('output');
    const last = (id: string, created: number) =>
      frame({ text: 'b', finish_reason: 'stop', token_ids: [2] }, id, created);
    const first = fed(
      relay,
      frame({ text: 'a', finish_reason: null, token_ids: [1] }) + last('a', 1),
    );
    expect(first).toEqual({ text: frame({ text: 'a', finish_reason: null }), ended: false });
    relay.restart('output');
    expect(relay.tokenIds).toEqual([1]);
    expect(fed(relay, last('z', 77) + done)).toEqual({
      text: frame({ text: 'b', finish_reason: 'stop' }) + done,
      ended: true,
    });
  });

  it('takes ids out wherever they stand in an object, and prompt ids too', () => {
    const relay = relayOf();
    relay.restart('output');
    const stream =
      'data: {"choices":[{"token_ids":[5,6],"text":"a"}],"prompt_token_ids":[1,2]}\n\n';
    expect(fed(relay, stream).text).toBe('data: {"choices":[{"text":"a"}]}\n\n');
    expect(relay.tokenIds).toEqual([5, 6]);
  });

  it.each([
    ['/v1/completions', 'data: {"error":{"message":"no memory"}}'],
    ['/v1/completions', 'data: {"error": "no memory"}'],
    ['/v1/chat/completions', 'data: {"object":"error","message":"no memory"}'],
    ['/v1/chat/completions', 'event: error\ndata: {"message":"no memory"}'],
    ['/v1/responses', 'event: response.failed\ndata: {"response":{}}'],
    ['/v1/responses', 'event: error\ndata: {"type":"error"}'],
    ['/v1/messages', 'event: error\ndata: {"type":"error"}'],
  ])('takes no failure for a stream: %s, %s', (path, first) => {
    const relay = relayOf(true, path);
    relay.restart('none');
    const relayed = relay.push(Buffer.from(`: waiting\n\n${first}\n\n`));
    expect(relayed).toMatchObject({ bytes: null, error: { status: 500 } });
  });

  it('shows one of a stream that nobody can continue, and says so', () => {
    const relay = relayOf();
    relay.restart('none');
    const piece = `${frame({ text: 'a' })}data: {"error":{"message":"no memory","code":503}}\n\n`;
    fed(relay, frame({ text: 'b' }));
    const { bytes, error } = relay.push(Buffer.from(piece));
    expect(bytes?.toString()).toBe(piece);
    expect(error).toMatchObject({ status: 503, message: 'no memory' });
  });

  it('takes no text for a failure', () => {
    const relay = relayOf();
    relay.restart('none');
    const stream = frame({ text: 'event: error\n\ndata: {"error":{}}', error: null });
    expect(fed(relay, stream).text).toBe(stream);
  });

  it('keeps no more back than the longest event', () => {
    const relay = relayOf();
    relay.restart('output');
    const finish = frame({ text: 'a', finish_reason: 'stop', token_ids: [1] });
    const filler = ': nothing\n\n'.repeat(100);
    const endless = () => {
      for (let count = 0; count < 100; count += 1) relay.push(Buffer.from(finish + filler));
    };
    expect(endless).toThrow(/more than 10000 bytes come after the finish reason/);
  });

  describe('of an engine that told token ids', () => {
    const told = (ids: number[], token_ids: number[], text: string, name = 'a') =>
      frame({ text, finish_reason: null, prompt_token_ids: ids, token_ids }, name);
    const begun = () => {
      const relay = relayOf();
      relay.restart('all');
      fed(relay, told([1, 2], [3], 'x'));
      relay.restart('all');
      return relay;
    };

    it('goes on with an instance that shows that it has taken all tokens so far', () => {
      const relay = begun();
      expect(fed(relay, told([1, 2, 3], [4], 'y', 'b')).text).toBe(
        frame({ text: 'y', finish_reason: null }),
      );
      expect(relay.tokenIds).toEqual([3, 4]);
    });

    const event = (token_ids: number[], text: string, finish_reason: string | null = null) =>
      frame({ text, finish_reason, token_ids });
    const shown = (text: string, finish_reason: string | null = null) =>
      frame({ text, finish_reason });

    it('keeps back tokens that have no text yet, from which nobody could go on', () => {
      const relay = begun();
      const first = told([1, 2, 3], [4], 'y') + event([5], '');
      expect(fed(relay, first + event([6], '')).text).toBe(shown('y'));
      expect(relay.tokenIds).toEqual([3, 4]);
      expect(fed(relay, event([7], '月')).text).toBe(shown('') + shown('') + shown('月'));
      expect(relay.tokenIds).toEqual([3, 4, 5, 6, 7]);
    });

    it('forgets them with the instance, and shows them at the end of the stream', () => {
      const relay = begun();
      fed(relay, told([1, 2, 3], [4], 'y') + event([5], ''));
      const finish = event([6], '', 'length');
      expect(fed(relay, finish).text).toBe('');
      relay.restart('all');
      expect(relay.tokenIds).toEqual([3, 4]);
      const again = told([1, 2, 3, 4], [5], '');
      expect(fed(relay, again + finish + done)).toEqual({
        text: shown('') + shown('', 'length') + done,
        ended: true,
      });
    });

    it('keeps no more of them back than the longest event, and then nobody can go on', () => {
      const relay = begun();
      fed(relay, told([1, 2, 3], [4], 'y'));
      const textless = event([5], '').repeat(300);
      expect(fed(relay, textless).text).toBe(shown('').repeat(300));
      expect(relay.tokenIds).toHaveLength(302);
      expect(relay.promptTokenIds).toEqual([]);
    });

    it('looks at each of them once', () => {
      const relay = new FrameRelay({
        ...{ stripsTokenIds: true, frameByteCountMax: 2 ** 24 },
        form: streamForm('/v1/completions'),
      });
      relay.restart('all');
      const count = 50_000;
      relay.push(Buffer.from(told([1, 2], [3], 'x')));
      for (let at = 0; at < count; at += 1) relay.push(Buffer.from(event([5], '')));
      expect(fed(relay, event([6], 'z')).text === shown('').repeat(count) + shown('z')).toBe(true);
    });

    it('goes on where a long text follows few tokens', () => {
      const relay = begun();
      fed(relay, told([1, 2, 3], [4, 5], 'y'));
      relay.restart('all');
      const next = told([1, 2, 3, 4, 5], [6, 7, 8], ' constitutional questions');
      expect(fed(relay, next).text).toContain('constitutional');
    });

    it('refuses one that repeats the prompt, where several tokens may have ended in half a character', () => {
      const repeated = told([1, 2, 3, 4, 5], [6], 'all that was asked and said, y月');
      const relay = begun();
      fed(relay, told([1, 2, 3], [4, 5], 'y'));
      relay.restart('all');
      expect(() => fed(relay, repeated)).toThrow('repeats what the prompt says');
      const sure = begun();
      fed(sure, told([1, 2, 3], [4], 'y') + event([5], 'z'));
      sure.restart('all');
      expect(fed(sure, repeated).text).toBe(shown('all that was asked and said, y月'));
    });

    it('goes on where a few characters repeat those before', () => {
      const relay = begun();
      fed(relay, told([1, 2, 3], [4, 5], 'a'));
      relay.restart('all');
      expect(fed(relay, told([1, 2, 3, 4, 5], [6, 7], ' and a')).text).toBe(shown(' and a'));
    });

    it('takes for a repetition only what ends in all that was unsure', () => {
      const relay = begun();
      fed(relay, told([1, 2, 3], [4, 5], 'all was ') + event([6, 7], 'said of a'));
      const text = ' sort, and said of a thing';
      const next = told([1, 2, 3, 4, 5, 6, 7], [8, 9], text);
      relay.restart('all');
      expect(fed(relay, next).text).toBe(shown(text));
    });

    it.each([shown('z'), event([5], 'z') + shown('z')])(
      'is not gone on with where some tokens were not told: %s',
      (events) => {
        const relay = begun();
        fed(relay, told([1, 2, 3], [4], 'y'));
        expect(relay.promptTokenIds).toEqual([1, 2]);
        fed(relay, events);
        expect(relay.promptTokenIds).toEqual([]);
      },
    );

    it('refuses one that begins anew, or does not tell', () => {
      expect(() => fed(begun(), told([1, 2], [3], 'x', 'b'))).toThrow(
        'has not taken the prompt that continues the stream',
      );
      expect(() => fed(begun(), frame({ text: 'x', finish_reason: null }, 'b'))).toThrow(
        'does not tell whether it has taken the prompt',
      );
    });
  });

  it('refuses an event without end', () => {
    const relay = relayOf();
    relay.restart('none');
    expect(() => fed(relay, 'x'.repeat(20_000))).toThrow(/exceeds 10000 bytes/);
  });
});

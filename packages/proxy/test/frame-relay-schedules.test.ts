import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FrameRelay } from '../src/frame-relay.ts';
import { streamForm } from '../src/stream-form.ts';

/** One instance's stream: how many events of it come, how much of the next one, and where reads are cut. */
interface Life {
  readonly eventCount: number;
  readonly partByteCount: number;
  readonly readSizes: readonly number[];
}

interface Token {
  readonly id: number;
  readonly text: string;
}

/** As many as a question has. */
const promptIds = Array.from({ length: 1_000 }, (_, at) => at % 10);

/** What an engine streams from token `from` on, as vLLM does or as ours do; `name` tells streams apart. */
function eventsOf(
  tokens: readonly Token[],
  from: number,
  perEvent: number,
  foreign: boolean,
  name: number,
) {
  const head = { id: `cmpl-${name}`, created: 1_000 + name };
  const event = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
  const events: string[] = [];
  for (let at = from; at < tokens.length; at += perEvent) {
    const some = tokens.slice(at, at + perEvent);
    const told = tokens.slice(0, from).map(({ id }) => id);
    const first = foreign && at === from ? { prompt_token_ids: [...promptIds, ...told] } : {};
    const finish = at + perEvent >= tokens.length ? 'length' : null;
    // As vLLM does where a prompt of ids ends within a character; with one token in each event, nobody need.
    const spills = foreign && perEvent === 1 && at === from && tokens[from - 1]?.text === '';
    const text = `${spills ? 'all of the prompt' : ''}${some.map((one) => one.text).join('')}`;
    const token_ids = some.map(({ id }) => id);
    events.push(
      event({ ...head, choices: [{ index: 0, text, ...first, token_ids, finish_reason: finish }] }),
    );
  }
  const prompt_tokens = promptIds.length + (foreign ? from : 0);
  const completion_tokens = tokens.length - (foreign ? from : 0);
  events.push(event({ ...head, choices: [], usage: { prompt_tokens, completion_tokens } }));
  return [...events, 'data: [DONE]\n\n'];
}

const token = fc.record({
  id: fc.nat(200_000),
  // Texts that look like what the relay looks for.
  text: fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom(
      '"token_ids":[1]',
      '\n\ndata: [DONE]\n\n',
      '"usage":{',
      '"finish_reason":"abort"',
      '月',
    ),
  ),
});
const life = fc.record({
  eventCount: fc.nat(12),
  partByteCount: fc.nat(120),
  readSizes: fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 4 }),
});

it('loses and doubles no token, however often and wherever instances die', () => {
  fc.assert(
    fc.property(
      fc.array(token, { minLength: 1, maxLength: 24 }),
      fc.array(life, { maxLength: 5 }),
      fc.integer({ min: 1, max: 3 }),
      fc.boolean(),
      (tokens, lives: readonly Life[], perEvent, foreign) => {
        const relay = new FrameRelay({
          form: streamForm('/v1/completions'),
          ...{ stripsTokenIds: true, frameByteCountMax: 100_000 },
        });
        let shown = '';
        let ended = false;
        const last: Life = { eventCount: 1_000, partByteCount: 0, readSizes: [70] };
        for (const [name, one] of [...lives, last].entries()) {
          if (ended) break;
          relay.restart(foreign ? 'all' : 'output');
          const events = eventsOf(tokens, relay.tokenIds.length, perEvent, foreign, name);
          const whole = events.slice(0, one.eventCount).join('');
          const part = Buffer.from(events[one.eventCount] ?? '').subarray(0, one.partByteCount);
          const bytes = Buffer.concat([Buffer.from(whole), part]);
          for (let at = 0, turn = 0; at < bytes.length && !ended; turn += 1) {
            const size = one.readSizes[turn % one.readSizes.length] as number;
            const relayed = relay.push(bytes.subarray(at, at + size));
            at += size;
            ended = relayed.ended;
            if (relayed.bytes === null) continue;
            const text = relayed.bytes;
            shown +=
              typeof text === 'string' ? Buffer.from(text, 'latin1').toString() : text.toString();
          }
        }
        expect(ended).toBe(true);
        const events = shown.split(/\n\n(?=data: |$)/).filter((event) => event !== '');
        expect(events.at(-1)).toBe('data: [DONE]');
        const parsed = events.slice(0, -1).map(
          (event) =>
            JSON.parse(event.slice('data: '.length)) as {
              id: string;
              choices: {
                text: string;
                finish_reason: string | null;
                token_ids?: unknown;
                prompt_token_ids?: unknown;
              }[];
              usage?: object;
            },
        );
        const choices = parsed.flatMap((event) => event.choices);
        expect(choices.map(({ text }) => text).join('')).toBe(
          tokens.map(({ text }) => text).join(''),
        );
        expect(relay.tokenIds).toEqual(tokens.map(({ id }) => id));
        expect(choices.filter(({ finish_reason }) => finish_reason !== null)).toHaveLength(1);
        expect(choices.some((one) => 'token_ids' in one || 'prompt_token_ids' in one)).toBe(false);
        expect(new Set(parsed.map(({ id }) => id)).size).toBe(1);
        expect(parsed.at(-1)?.usage).toEqual({
          prompt_tokens: promptIds.length,
          completion_tokens: tokens.length,
        });
      },
    ),
    { numRuns: process.env['TSUKIMI_FORM'] === 'full' ? 50_000 : 1_000 },
  );
}, 300_000);

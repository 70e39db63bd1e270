import { Fault } from '@tsukimi/base';
import type { StreamForm } from './stream-form.ts';
import { hidesTokens, lengthWithText, repeatsText, unsureText } from './token-text.ts';
import type { ToldError } from './told-error.ts';

export interface FrameRelayOptions {
  /** The client did not ask for them and does not see them. */
  readonly stripsTokenIds: boolean;
  readonly frameByteCountMax: number;
  readonly form: StreamForm;
}

/** `output`: those of the answer; `all`: and those of the prompt, from an engine that may not tell any. */
export type CollectedIds = 'none' | 'output' | 'all';

/** What is ready for the client. `ended` says that the stream has come to its proper end. */
export interface Relayed {
  readonly bytes: Buffer | string | null;
  readonly ended: boolean;
  /**
   * The instance has failed, as it says itself. The client has not seen that where somebody else could
   * still do better; else it is in `bytes`.
   */
  readonly error: ToldError | null;
}

const lfBoundary = Buffer.of(0x0a, 0x0a);
const crlfBoundary = Buffer.of(0x0d, 0x0a, 0x0d, 0x0a);
const tokenIdsName = '"token_ids":[';
const promptTokenIdsName = '"prompt_token_ids":[';
const finishReason = '"finish_reason":"';
const roleMember = '"role":"assistant"';
const nothing = Buffer.alloc(0);
const nothingTold: readonly number[] = [];

/**
 * Takes the bytes of one client's stream, from one instance after another, and passes on whole events
 * only, so that an instance that dies within one takes nothing along. Nothing is parsed as JSON: a
 * pattern that holds an unescaped quote cannot occur inside a JSON string, so exact bytes will do. The
 * text is handled as Latin-1, which keeps every byte.
 */
export class FrameRelay {
  readonly #options: FrameRelayOptions;
  #collects: CollectedIds = 'none';
  /** The beginning of an event whose end has not come. */
  #pending: Buffer = nothing;
  /** From the event that tells the finish reason on: kept until the stream's end is certain. */
  #held = '';
  /** Events at the end whose tokens have no text yet, of an engine that goes on from ids alone. */
  #textless = '';
  /** Of the last events that were passed on, as far as they may have more tokens than text; else ''. */
  #unsureText = '';
  /** Some of what was passed on is of tokens that were not told. */
  #hidesTokens = false;
  readonly #tokenIds: number[] = [];
  readonly #promptTokenIds: number[] = [];
  /** Tokens that came before this continuation, which counts them as prompt. */
  #countedAsPrompt = 0;
  /** `id` and `created` of the first stream, which all later ones are made to carry. */
  #firstNames: StreamNames | null = null;
  #currentNames: StreamNames | null = null;
  #begun = false;
  /** No event of this instance has come yet. */
  #atHead = true;
  /** Continuing, and no event with a token has come yet. */
  #atHeadOfContinuation = false;

  constructor(options: FrameRelayOptions) {
    this.#options = options;
  }

  /** Of all events that were passed on. */
  get tokenIds(): readonly number[] {
    return this.#tokenIds;
  }

  /** What the first stream told; empty unless `all` was collected and told, of every token. */
  get promptTokenIds(): readonly number[] {
    return this.#hidesTokens ? nothingTold : this.#promptTokenIds;
  }

  /** Whether the client has got anything. */
  get begun(): boolean {
    return this.#begun;
  }

  /**
   * An instance starts, or continues, the stream; what was not passed on is forgotten.
   * `collects`: which ids it was asked for, so that somebody else can continue it.
   */
  restart(collects: CollectedIds): void {
    this.#collects = collects;
    this.#countedAsPrompt = collects === 'all' ? this.#tokenIds.length : 0;
    if (!this.begun) {
      this.#promptTokenIds.length = 0;
      this.#hidesTokens = false;
    }
    this.#pending = nothing;
    this.#held = '';
    this.#textless = '';
    this.#currentNames = null;
    this.#atHeadOfContinuation = this.begun;
    this.#atHead = true;
  }

  /**
   * Throws `MALFORMED` for events beyond the limit; `REFUSED` for a continuation that does not show that
   * it goes on with the right tokens; and `INTERNAL` for a stream that was aborted, while somebody else
   * could still do better.
   */
  push(bytes: Buffer): Relayed {
    const all = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const end = endOfWholeFrames(all);
    this.#pending = end === all.length ? nothing : all.subarray(end);
    if (this.#pending.length > this.#options.frameByteCountMax) {
      throw new Fault(
        'MALFORMED',
        `an event of the stream exceeds ${this.#options.frameByteCountMax} bytes`,
      );
    }
    if (end === 0) return { bytes: null, ended: false, error: null };
    const ended = this.#options.form.ends(all, end);
    // Before anything was seen, somebody else can do better, whatever the engine.
    if (!this.begun) refuseAbort(all, all.indexOf(finishReason));
    const error = this.#options.form.errorIn(all, end);
    if (error !== null) {
      // One that nobody could continue tells its client itself.
      const tells = this.begun && this.#collects === 'none';
      return { bytes: tells ? all.subarray(0, end) : null, ended: false, error };
    }
    if (this.#atHead && hasData(all, end)) {
      this.#atHead = false;
      if (this.#collects === 'all') this.#checkPrompt(all.toString('latin1', 0, end));
    }
    if (this.#collects === 'none') {
      if (!this.begun && !hasData(all, end)) return { bytes: null, ended, error };
      this.#begun = true;
      return { bytes: end === all.length ? all : all.subarray(0, end), ended, error };
    }
    return { bytes: this.#relayed(all.toString('latin1', 0, end), ended), ended, error };
  }

  /** The first event of a stream has the ids of the prompt, or its engine tells none at all. */
  #checkPrompt(frames: string): void {
    const tells = frames.includes(promptTokenIdsName);
    if (!this.begun) {
      if (!tells) this.#collects = 'none';
      return;
    }
    // An engine that has never heard of such a prompt would begin the answer anew.
    const told: number[] = [];
    withoutMember(frames, promptTokenIdsName, told, false);
    const given = [...this.#promptTokenIds, ...this.#tokenIds];
    if (told.length === given.length && told.every((id, at) => id === given[at])) return;
    const seen = tells
      ? 'has not taken the prompt'
      : 'does not tell whether it has taken the prompt';
    throw new Fault('REFUSED', `${seen} that continues the stream`);
  }

  #relayed(frames: string, ended: boolean): string | null {
    let ready = frames;
    if (this.#held !== '') {
      ready = '';
      this.#hold(frames);
    } else {
      const finish = frames.indexOf(finishReason);
      if (finish >= 0) {
        refuseAbort(frames, finish);
        const from = frames.lastIndexOf('\n\n', finish);
        ready = from < 0 ? '' : frames.slice(0, from + 2);
        this.#hold(frames.slice(ready.length));
      }
    }
    if (this.#collects === 'all') ready = this.#withText(ready);
    if (ended) {
      ready += this.#held;
      this.#held = '';
    }
    if (ready === '') return null;
    const shown = this.#withoutTokenIds(this.#continued(ready));
    // A mere comment is no reason to give up that all can begin anew.
    if (shown === '' || (!this.begun && !shown.includes('data:'))) return null;
    this.#begun = true;
    return shown;
  }

  #hold(frames: string): void {
    this.#held += frames;
    const { frameByteCountMax } = this.#options;
    if (this.#held.length <= frameByteCountMax) return;
    const message = `more than ${frameByteCountMax} bytes come after the finish reason`;
    throw new Fault('MALFORMED', message);
  }

  /** Only what somebody else can go on from; see `token-text.ts`. */
  #withText(frames: string): string {
    if (hidesTokens(frames)) this.#hidesTokens = true;
    if (this.#unsureText !== '' && this.#atHeadOfContinuation) {
      const count = this.#promptTokenIds.length + this.#tokenIds.length;
      if (repeatsText(frames, count, this.#unsureText)) {
        throw new Fault('REFUSED', 'repeats what the prompt says that continues the stream');
      }
    }
    // What was kept back has no text, so only what is new decides.
    const length = this.#hidesTokens ? frames.length : lengthWithText(frames);
    let ready = length === 0 ? '' : this.#textless + frames.slice(0, length);
    this.#textless = length === 0 ? this.#textless + frames : frames.slice(length);
    if (this.#textless.length > this.#options.frameByteCountMax) {
      // Better a stream that nobody can go on with than none.
      this.#hidesTokens = true;
      ready += this.#textless;
      this.#textless = '';
    } else if (this.#held !== '') {
      this.#held = this.#textless + this.#held;
      this.#textless = '';
    }
    this.#unsureText = unsureText(ready, this.#unsureText);
    return ready;
  }

  /** Takes the ids along, and out where the client did not ask for them. */
  #withoutTokenIds(frames: string): string {
    let shown = frames;
    const continues = this.#countedAsPrompt > 0;
    const told = this.#collects === 'all' && !continues && this.#promptTokenIds.length === 0;
    if (this.#options.stripsTokenIds || continues || told) {
      const cuts = this.#options.stripsTokenIds || continues;
      shown = withoutMember(shown, promptTokenIdsName, told ? this.#promptTokenIds : null, cuts);
    }
    return withoutMember(shown, tokenIdsName, this.#tokenIds, this.#options.stripsTokenIds);
  }

  /** Makes the events of a later stream look like those of the first. */
  #continued(frames: string): string {
    this.#currentNames ??= StreamNames.of(frames);
    this.#firstNames ??= this.#currentNames;
    if (!this.begun) {
      // What nobody has seen need not be kept up: the client knows the latest stream only.
      this.#firstNames = this.#currentNames;
      return frames;
    }
    let shown = this.#atHeadOfContinuation ? this.#withoutRole(frames) : frames;
    if (this.#firstNames !== this.#currentNames && this.#firstNames && this.#currentNames) {
      shown = this.#currentNames.replaced(shown, this.#firstNames);
    }
    if (this.#countedAsPrompt === 0 || !shown.includes('"usage":{')) return shown;
    return shown.replaceAll(/"usage":\{[^{}]*/g, (usage) => this.#recounted(usage));
  }

  /** Of a continuation by token ids: what it took for prompt was output. */
  #recounted(usage: string): string {
    const count = this.#countedAsPrompt;
    return usage
      .replace(/("prompt_tokens":)(\d+)/, (_, name, told) => `${name}${Number(told) - count}`)
      .replace(/("completion_tokens":)(\d+)/, (_, name, told) => `${name}${Number(told) + count}`);
  }

  /** A continued message has a role already; the event that only tells it is not repeated. */
  #withoutRole(frames: string): string {
    let shown = '';
    for (const frame of frames.split(/(?<=\n\n)/)) {
      const hasTokens = /"token_ids":\[\d/.test(frame);
      if (this.#atHeadOfContinuation && frame.includes(roleMember)) {
        const hasText = /"content":"[^"]/.test(frame);
        if (hasTokens || hasText) shown += frame.replace(/"role":"assistant",?/, '');
      } else shown += frame;
      if (hasTokens) this.#atHeadOfContinuation = false;
    }
    return shown;
  }
}

/** The members that are the same in all events of one stream, as they are written. */
class StreamNames {
  readonly #id: string;
  readonly #created: string;

  private constructor(id: string, created: string) {
    this.#id = id;
    this.#created = created;
  }

  static of(frames: string): StreamNames | null {
    const id = /[{,]("id":"[^"\\]*")/.exec(frames)?.[1];
    const created = /[{,]("created":\d+)/.exec(frames)?.[1];
    return id === undefined || created === undefined ? null : new StreamNames(id, created);
  }

  replaced(frames: string, by: StreamNames): string {
    return frames.replaceAll(this.#id, by.#id).replaceAll(this.#created, by.#created);
  }
}

/** Whether whole events, which end at `end`, are more than comments. */
function hasData(bytes: Buffer, end: number): boolean {
  const at = bytes.indexOf('data:');
  return at >= 0 && at < end;
}

/** Where the last whole event ends; 0 if there is none. */
function endOfWholeFrames(bytes: Buffer): number {
  const length = bytes.length;
  if (length >= 2 && bytes[length - 1] === 0x0a) {
    const before = bytes[length - 2];
    if (before === 0x0a) return length;
    if (
      before === 0x0d &&
      length >= 4 &&
      bytes[length - 3] === 0x0a &&
      bytes[length - 4] === 0x0d
    ) {
      return length;
    }
  }
  const lf = bytes.lastIndexOf(lfBoundary);
  const crlf = bytes.lastIndexOf(crlfBoundary);
  return Math.max(lf < 0 ? 0 : lf + 2, crlf < 0 ? 0 : crlf + 4);
}

/**
 * Finds the arrays of numbers called `name` (with quotes, colon and bracket) that are members of an
 * object, adds the numbers to `into` and cuts the members out.
 */
function withoutMember(frames: string, name: string, into: number[] | null, cuts = true): string {
  let at = frames.indexOf(name);
  if (at < 0) return frames;
  let shown = '';
  let copiedUntil = 0;
  for (; at >= 0; at = frames.indexOf(name, at + 1)) {
    const before = frames.charCodeAt(at - 1);
    const isMember = before === 0x2c || before === 0x7b;
    const close = frames.indexOf(']', at);
    if (!isMember || close < 0) continue;
    if (into !== null) collect(frames, at + name.length, close, into);
    if (!cuts) continue;
    const isFirst = before === 0x7b;
    shown += frames.slice(copiedUntil, isFirst ? at : at - 1);
    copiedUntil = isFirst && frames[close + 1] === ',' ? close + 2 : close + 1;
  }
  return copiedUntil === 0 ? frames : shown + frames.slice(copiedUntil);
}

/** Decimal numbers and commas, as they stand between the brackets. */
function collect(text: string, start: number, end: number, into: number[]): void {
  let value = -1;
  for (let at = start; at < end; at += 1) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit >= 0 && digit <= 9) value = (value < 0 ? 0 : value) * 10 + digit;
    else if (value >= 0) {
      into.push(value);
      value = -1;
    }
  }
  if (value >= 0) into.push(value);
}

/** `finish`: where a reason stands; -1 for nowhere. */
function refuseAbort(frames: Buffer | string, finish: number): void {
  const start = finish + finishReason.length;
  if (finish >= 0 && frames.indexOf('abort"', start) === start) {
    throw new Fault('INTERNAL', 'the instance aborted the stream');
  }
}

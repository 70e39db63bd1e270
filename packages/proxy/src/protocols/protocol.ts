import type { Random } from '@tsukimi/base';
import type { PdProtocolName } from '../core/pd-facts.ts';
import type { PoolInstance } from '../core/pool-instance.ts';
import type { JsonMembers } from '../json-members.ts';
import type { RequestTraits } from '../request-traits.ts';

/** A client's request, as the legs are made of it. */
export interface LegSource {
  readonly path: string;
  readonly body: Buffer;
  /** Of `body`, in which no client names anybody's KV; see `withoutTransferParams`. */
  readonly members: JsonMembers;
  readonly traits: RequestTraits;
  /** Names, in lower case, and values in turn: what every leg carries. */
  readonly headers: readonly string[];
  /** Of the answer, what the client has got already; empty at the start. */
  readonly outputTokenIds: readonly number[];
  /** Of a stream that another engine began, with `outputTokenIds`; else empty. */
  readonly promptTokenIds: readonly number[];
  /** A prefill instance that shares a store is to say which tokens it has computed. */
  readonly asksPromptTokenIds: boolean;
  /** One of ours is to say under which keys they are in the store. */
  readonly asksChunkKeys: boolean;
}

/** What is sent to an instance, with POST. */
export interface LegRequest {
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

/** What a prefill instance's answer says about what it left for the decode instance. */
export interface Handover {
  /** Tokens of the prompt that it did not compute, as they were cached somewhere; null if not told. */
  readonly cachedTokenCount: number | null;
  /** Of each prompt, where decode should start only when their KV is in the store. */
  readonly promptTokenIds?: readonly (readonly number[])[];
  /** Of whole chunks of the prompt that are in the store now, in order, as the instance names them. */
  readonly chunkKeys?: readonly string[];
  /** The object that the decode leg repeats, as raw JSON; null where the protocol has none. */
  readonly kvTransferParams: string | null;
  /** The prefill instance keeps something for the pair's decode instance alone. */
  readonly held: boolean;
}

/**
 * One way of prefill and decode on separate instances. Pure: from requests to requests. Each is
 * described in its file, with the source of its fields.
 */
export interface PdProtocol {
  readonly name: PdProtocolName;
  /** Whether decode begins once prefill has answered, or both legs are sent at once. */
  readonly order: 'prefill-first' | 'together';
  /**
   * `shared`: any decode instance can use what prefill left, again and again. `single-use`: it is for
   * the pair's decode instance, once; when that leg fails, a new pair begins with a new prefill leg.
   */
  readonly handover: 'shared' | 'single-use';
  /**
   * What makes the prefill instance let go of what it holds when the client leaves between prefill's
   * answer and decode's first bytes. While the prefill leg itself runs, closing it is enough.
   * `deliver-then-abort`: the decode leg is sent all the same, and closed after its first bytes.
   */
  readonly release: 'nothing' | 'deliver-then-abort' | 'abort-both';
  /** Whether all that must be known of the pair beforehand is known. Without it: always. */
  fits?(pair: Pair): boolean;
  prefillLeg(request: LegSource, pair: Pair): LegRequest;
  /**
   * From the whole answer, of status 200, to the prefill leg. Null: nothing was handed over, so the
   * decode instance has to compute the prompt by itself; one that waits for it already waits in vain.
   */
  handoverOf(answer: Buffer, pair: Pair): Handover | null;
  /** `handover` is null when both legs run at once, and when there was nothing to hand over. */
  decodeLeg(request: LegSource, pair: Pair, handover: Handover | null): LegRequest;
  /** Where closing a leg's connection is not enough to end it: what else its instance is sent. */
  abortRequest?(request: LegSource, pair: Pair): LegRequest;
}

/** One try of a prefill and a decode leg, with ids of its own that no other try ever uses. */
export class Pair {
  /** Null: the decode instance does all the work. */
  readonly prefill: PoolInstance | null;
  /** Null while it is open, which a `shared` hand-over allows during the prefill leg. */
  readonly decode: PoolInstance | null;
  readonly #random: Random;
  #attemptId: string | null = null;

  constructor(prefill: PoolInstance | null, decode: PoolInstance | null, random: Random) {
    this.prefill = prefill;
    this.decode = decode;
    this.#random = random;
  }

  /** 32 hexadecimal digits. */
  get attemptId(): string {
    this.#attemptId ??= [0, 1, 2, 3].map(() => hex(this.#random.uint32())).join('');
    return this.#attemptId;
  }

  /** Of 63 bits, hence for most rooms no number of JavaScript. */
  get room(): bigint {
    return BigInt(`0x${this.attemptId.slice(0, 16)}`) >> 1n;
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}

/**
 * How long the proxy waits for what, in milliseconds: one table, so that no wait is forgotten. Each
 * entry is the default of the option of the same name.
 */
export const deadlines = {
  /** Until an instance accepts a connection. */
  connectMs: 1_000,
  /** Until the first byte of an answer, for an empty prompt; also the whole prefill leg. */
  firstByteMs: 30_000,
  /** Added to `firstByteMs` for each token of the prompt: 1 s for each 100. */
  firstBytePerTokenMs: 10,
  /** Until the KV that prefill has computed can be found in the store; then decode starts without. */
  handoverMs: 2_000,
  /** A decode leg that nobody waits for, so that its prefill instance lets go of the KVCache. */
  releaseMs: 10_000,
  /** Between two pieces of a stream; also how long a silent, failing instance is still waited for. */
  gapMs: 10_000,
  /** The whole of an answer that is not streamed. */
  answerMs: 1_800_000,
  /** One health probe. */
  probeMs: 1_000,
  /** From one probe of an instance to the next. */
  probePeriodMs: 1_000,
  /** A request that finds nobody up waits for this, longer than from one probe to the next. */
  nobodyUpMs: 1_500,
  /** From one look at who an instance is (models, fingerprint) to the next. */
  identityPeriodMs: 10_000,
  /** A draining instance gets this long to finish what it has, unless the call says otherwise. */
  drainMs: 60_000,
  /** A client that stopped reading its stream is given up after this. */
  clientStallMs: 120_000,
  /** A request that waits for its turn behind others is refused after this. */
  queueMs: 30_000,
} as const;

export type Deadlines = { readonly [K in keyof typeof deadlines]: number };

/** What the process holds at most. */
export const limits = {
  /** A client's request body. */
  bodyByteCountMax: 32 * 2 ** 20,
  /** Bodies of all requests, and answers that are kept until they are whole, together. */
  heldByteCountMax: 2 ** 30,
  /** An answer that is not streamed, kept until it is whole. */
  answerByteCountMax: 64 * 2 ** 20,
  /** A single event of a stream. */
  frameByteCountMax: 8 * 2 ** 20,
  /** Body of a call to `/instances/add`. */
  adminBodyByteCountMax: 64 * 2 ** 10,
  instanceCountMax: 1_024,
  /** Tries after failures, over all requests; see `RetryBudget`. */
  retries: { retriesPerRequest: 0.2, retriesPerSecond: 10, savedMax: 200 },
  /** Idle connections kept to one instance. */
  idleConnectionCountMax: 256,
} as const;

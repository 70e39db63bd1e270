import type { Failure, Leg, Outcome } from '../core/attempt.ts';
import type { PoolInstance } from '../core/pool-instance.ts';
import type { Span } from './tracer.ts';

/** The spans of one try: `prefill`, `handover`, `decode`. All have ended when the try is over. */
export class AttemptTrace {
  readonly #request: Span;
  readonly #attempt: number;
  #prefill: Span | null = null;
  #handover: Span | null = null;
  #decode: Span | null = null;

  /** `attempt` is 1 for the request's first one. */
  constructor(request: Span, attempt: number) {
    this.#request = request;
    this.#attempt = attempt;
  }

  /** The leg leaves, with these headers: they make the instance's own spans children of the leg's. */
  sent(leg: Leg, { endpoint }: PoolInstance, headers: readonly string[]): readonly string[] {
    const span = this.#request.child(leg, 'calls', {
      'http.request.method': 'POST',
      'server.address': endpoint.host,
      'server.port': endpoint.port,
      'tsukimi.attempt': this.#attempt,
    });
    if (leg === 'prefill') this.#prefill = span;
    else this.#decode = span;
    return withTraceparent(headers, span.traceparent);
  }

  answered(leg: Leg, status: number): void {
    const span = leg === 'prefill' ? this.#prefill : this.#decode;
    span?.tell({ 'http.response.status_code': status });
  }

  prefillEnded(): void {
    this.#prefill?.end();
  }

  handoverBegan(): void {
    this.#handover = this.#request.child('handover', 'internal', {
      'tsukimi.attempt': this.#attempt,
    });
  }

  handoverEnded(outcome: string): void {
    this.#handover?.tell({ 'tsukimi.outcome': outcome });
    this.#handover?.end();
  }

  over(outcome: Outcome, failure: Failure | null): void {
    (this.#decode ?? this.#prefill)?.tell({ 'tsukimi.outcome': outcome });
    for (const [leg, span] of [
      ['prefill', this.#prefill],
      ['decode', this.#decode],
    ] as const) {
      if (failure?.leg === leg) span?.tell({ 'error.type': failure.reason });
      span?.end(failure?.leg === leg ? failure.message : undefined);
    }
    this.#handover?.end();
  }
}

/** `headers`: names and values in turn. A value may be any text, that of a name too. */
function withTraceparent(headers: readonly string[], traceparent: string): readonly string[] {
  const traced = [...headers];
  for (let at = 0; at < traced.length; at += 2) {
    if (traced[at] !== 'traceparent') continue;
    traced[at + 1] = traceparent;
    return traced;
  }
  traced.push('traceparent', traceparent);
  return traced;
}

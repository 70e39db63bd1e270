import type { Scheduled } from '@tsukimi/base';
import type { AttemptWatch } from './attempt-watch.ts';
import type { PoolInstance } from './core/pool-instance.ts';
import type { Leg } from './core/request-plan.ts';
import type { UpstreamCall, UpstreamHeaders } from './upstream.ts';

/** An answer that is kept until it is whole, or the head of one that is relayed. */
export interface WholeAnswer {
  readonly status: number;
  readonly headers: UpstreamHeaders;
  readonly pieces: Buffer[];
  byteCount: number;
}

/** What belongs to one try of one leg. */
export class Attempt {
  readonly leg: Leg;
  readonly instance: PoolInstance;
  readonly startMs: number;
  call: UpstreamCall | null = null;
  watch: AttemptWatch | null = null;
  answer: WholeAnswer | null = null;
  /** It answers with events that go to the client as they come. */
  streams = false;
  /** Cuts a connection whose stream has ended and that does not become free. */
  linger: Scheduled | null = null;

  constructor(leg: Leg, instance: PoolInstance, startMs: number) {
    this.leg = leg;
    this.instance = instance;
    this.startMs = startMs;
  }

  stop(): void {
    this.watch?.cancel();
    this.call?.abort();
  }
}

export function whole({ pieces }: WholeAnswer): Buffer {
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
}

export function contentTypeOf(answer: WholeAnswer | null, usual: string): string {
  const type = answer?.headers['content-type'];
  return typeof type === 'string' ? type : usual;
}

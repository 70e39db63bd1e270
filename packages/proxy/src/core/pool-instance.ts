import { type Address, formatAddress } from '@tsukimi/base';
import { textHash } from './block-hashes.ts';
import { Breaker } from './breaker.ts';
import type { Identity } from './identity.ts';
import { InstanceLoad, type PoolSpeeds } from './instance-load.ts';
import type { PdHint } from './pd-facts.ts';
import type { Candidate } from './policies/policy.ts';

export type InstanceKind = 'prefill' | 'decode';

/** Where an instance listens. */
export interface Endpoint extends Address {
  /** Its port speaks TLS. */
  readonly secure?: boolean;
  /** What is said of it alone, beside `--pd-protocol`. */
  readonly pd?: PdHint;
}

export type InstanceState =
  | { readonly name: 'unknown' }
  | { readonly name: 'up' }
  | { readonly name: 'down'; readonly reason: string }
  /** It answers, but serves another model than the proxy was started for. Never used. */
  | { readonly name: 'mismatch'; readonly reason: string };

/** Why an attempt at an instance failed. 'refused' is a 4xx, which says nothing of its health. */
export type FailureReason = 'connect' | 'reset' | 'timeout' | 'status' | 'malformed' | 'refused';

/** How an attempt ended. 'abandoned': before the instance had answered, and not by its fault. */
export type AttemptOutcome =
  | 'answered'
  | 'abandoned'
  | { readonly reason: FailureReason; readonly message: string };

/** Read-only for everybody but the pool. */
export interface PoolInstance extends Candidate {
  /** Of each leg: open while its answers fail. */
  readonly breakers: Readonly<Record<InstanceKind, Pick<Breaker, 'closed'>>>;
  /** Which legs it gets; changes when its role does. */
  readonly kind: InstanceKind;
  /** `host:port`, as it is shown. */
  readonly address: string;
  /** What URLs begin with: `http://host:port` or `https://host:port`. */
  readonly origin: string;
  readonly endpoint: Endpoint;
  readonly state: InstanceState;
  /** It finishes what it has and gets nothing new. */
  readonly draining: boolean;
  /** The last it told, also while it is down. */
  readonly identity: Identity | null;
  readonly requestCount: number;
  readonly failureCount: number;
}

/** The pool's own side of an instance. */
export class Member extends InstanceLoad implements PoolInstance {
  kind: InstanceKind;
  readonly address: string;
  readonly origin: string;
  readonly endpoint: Endpoint;
  /** One for each leg: what fails to decode may prefill well. */
  readonly breakers: Readonly<Record<InstanceKind, Breaker>> = {
    prefill: new Breaker(),
    decode: new Breaker(),
  };
  state: InstanceState = { name: 'unknown' };
  draining = false;
  identity: Identity | null = null;
  requestCount = 0;
  failureCount = 0;
  failedProbeCount = 0;
  /** Nobody listened there since it was last identified. */
  wasGone = false;

  constructor(kind: InstanceKind, endpoint: Endpoint, order: number, speeds: PoolSpeeds) {
    const address = formatAddress(endpoint);
    super(order, textHash(address), speeds);
    this.kind = kind;
    this.endpoint = endpoint;
    this.address = address;
    this.origin = originOf(endpoint);
  }
}

/** What the URLs of an endpoint begin with. */
export function originOf(endpoint: Endpoint): string {
  return `${endpoint.secure === true ? 'https' : 'http'}://${formatAddress(endpoint)}`;
}

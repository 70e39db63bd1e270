import { type MessageType, type Method, type Protocol } from '@tsukimi/wire';

type AnyMethod = Protocol[string];

/** The calls of one release of the peers; a release may lack some. */
export interface ReleaseTable<P extends Protocol> {
  readonly release: string;
  readonly protocol: Partial<P>;
}

/** What an answer is written by. */
export interface Answer {
  readonly name: string;
  readonly response: MessageType<unknown>;
}

/** One way in which a request is laid out. Sets of releases are bits, in the order of the tables. */
export interface RequestLayout {
  readonly name: string;
  readonly method: AnyMethod;
  /** Whose requests are laid out so. */
  readonly releases: number;
  /** By number of the release. */
  readonly answers: readonly (Answer | undefined)[];
  /** By number of a release: whose answers are laid out as its are. */
  readonly alike: readonly number[];
}

/** Callers that are remembered; the one longest unheard of is forgotten first. */
const callerCountMax = 65_536;

/**
 * The releases that peers of a server may speak, and what has been seen of who speaks which. Nothing
 * is negotiated on the wire: a request tells its releases by its type code. Where that leaves several whose
 * answers differ, the release is what the connection has shown, else another connection of the same caller,
 * else what all others of the same address have in common, else the fallback; the last two are guesses.
 */
export class PeerReleases<P extends Protocol> {
  /** By function id; several where releases differ. The fallback's comes first. */
  readonly layoutsById: ReadonlyMap<number, readonly RequestLayout[]>;
  readonly releases: readonly string[];
  readonly all: number;
  readonly #fallback: number;
  readonly #guessCounts: number[];
  readonly #shownByCaller = new Map<string, number>();
  /** For each address: how many connections have shown a set of releases. */
  readonly #shownByAddress = new Map<string, Map<number, number>>();
  /** Counts changes of what is known of callers and addresses. */
  epoch = 0;

  /** At most 30 tables, oldest first. `fallback` is the release of peers that have shown nothing. */
  constructor(tables: readonly ReleaseTable<P>[], fallback: string) {
    this.releases = tables.map(({ release }) => release);
    this.all = 2 ** tables.length - 1;
    this.#fallback = this.releases.indexOf(fallback);
    this.#guessCounts = tables.map(() => 0);
    this.layoutsById = layoutsOf(
      tables.map(({ protocol }) => protocol as Protocol),
      this.#fallback,
    );
  }

  /** Answers that were given in the layout of a release by a guess. */
  get guesses(): readonly (readonly [release: string, count: number])[] {
    return this.releases.map((release, at) => [release, this.#guessCounts[at] as number]);
  }

  guessed(release: number): void {
    this.#guessCounts[release] = (this.#guessCounts[release] as number) + 1;
  }

  /** The one to take of a set: the fallback if it is in it, else the newest. */
  pick(releases: number): number {
    const isFallback = ((releases >> this.#fallback) & 1) === 1;
    return isFallback ? this.#fallback : 31 - Math.clz32(releases);
  }

  /** What connections of a caller have shown together; 0 when unknown. */
  ofCaller(caller: string): number {
    return this.#shownByCaller.get(caller) ?? 0;
  }

  callerShows(caller: string, releases: number): void {
    const known = this.#shownByCaller.get(caller) ?? this.all;
    // What was shown last is right, should both not fit together.
    const now = known & releases || releases;
    if (now === known && this.#shownByCaller.has(caller)) return;
    this.#shownByCaller.delete(caller);
    this.#shownByCaller.set(caller, now);
    if (this.#shownByCaller.size > callerCountMax) {
      for (const [oldest] of this.#shownByCaller) {
        this.#shownByCaller.delete(oldest);
        break;
      }
    }
    this.epoch += 1;
  }

  /** What all connections of an address have in common; 0 for nothing. */
  atAddress(address: string): number {
    let common = this.all;
    for (const releases of this.#shownByAddress.get(address)?.keys() ?? []) common &= releases;
    return common;
  }

  /** A connection has shown `now` where it had shown `before`; all releases are nothing shown. */
  connectionShows(address: string, before: number, now: number): void {
    const counts = this.#shownByAddress.get(address) ?? new Map<number, number>();
    if (now !== this.all) counts.set(now, (counts.get(now) ?? 0) + 1);
    if (before !== this.all) {
      const left = (counts.get(before) ?? 0) - 1;
      if (left > 0) counts.set(before, left);
      else counts.delete(before);
    }
    if (counts.size > 0) this.#shownByAddress.set(address, counts);
    else this.#shownByAddress.delete(address);
    this.epoch += 1;
  }
}

function layoutsOf(
  protocols: readonly Protocol[],
  fallback: number,
): ReadonlyMap<number, readonly RequestLayout[]> {
  const names = new Set(protocols.flatMap((protocol) => Object.keys(protocol)));
  const layoutsById = new Map<number, readonly RequestLayout[]>();
  for (const name of names) {
    const methods = protocols.map((protocol) => protocol[name]);
    const codes = new Set(methods.flatMap((method) => (method ? [codeOf(method)] : [])));
    const layouts = [...codes]
      .map((code) => layoutOf(name, methods, code))
      .toSorted((a, b) => Number(hasRelease(b, fallback)) - Number(hasRelease(a, fallback)));
    const id = layouts[0]?.method.functionId;
    if (id !== undefined) layoutsById.set(id, layouts);
  }
  return layoutsById;
}

function layoutOf(
  name: string,
  methods: readonly (AnyMethod | undefined)[],
  code: number,
): RequestLayout {
  const own = methods.map((method) =>
    method !== undefined && codeOf(method) === code ? method : undefined,
  );
  const bitsOf = (fits: (method: AnyMethod) => boolean) =>
    own.reduce(
      (bits, method, at) => bits | (method !== undefined && fits(method) ? 1 << at : 0),
      0,
    );
  return {
    name,
    method: own.findLast((method) => method !== undefined) as AnyMethod,
    releases: bitsOf(() => true),
    answers: own.map((method) => method && { name, response: method.response }),
    alike: own.map((method) => bitsOf(({ response }) => response.code === method?.response.code)),
  };
}

function codeOf({ request }: Method<any, unknown>): number {
  return request?.code ?? 0;
}

function hasRelease({ releases }: RequestLayout, release: number): boolean {
  return ((releases >> release) & 1) === 1;
}

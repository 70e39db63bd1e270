import { below, SeededRandom } from '@tsukimi/base';
import type { FakeClock } from '@tsukimi/base/testing';
import type { Peer } from '@tsukimi/rpc';
import {
  ByteReader,
  ByteWriter,
  decodeMessage,
  encodeMessage,
  masterProtocol,
  type Protocol,
} from '@tsukimi/wire';
import { CallTallies } from '../../src/call-tallies.ts';
import type { CoreOptions } from '../../src/core/core-options.ts';
import type { MasterCore } from '../../src/core/master-core.ts';
import { masterHandlers } from '../../src/handlers.ts';
import { LongWork } from '../../src/long-work.ts';
import { guardTenants } from '../../src/tenants/tenant-guard.ts';
import { coreForTests } from '../../src/testing.ts';
import { plain } from '../journal/random-life.ts';
import { type CallName, HostileCalls } from './hostile-calls.ts';

const names = Object.keys(masterProtocol) as CallName[];
/** Drawn as often as all others together: without them nothing lives. */
const vitalNames: readonly CallName[] = [
  ...(['MountSegment', 'MountSegment', 'MountLocalDiskSegment', 'UpsertStart'] as const),
  ...(['PutStart', 'PutStart', 'PutStart', 'PutEnd', 'PutEnd', 'PutEnd', 'PutEnd'] as const),
  ...(['BatchPutStart', 'BatchPutEnd', 'GetReplicaList', 'NotifyOffloadSuccess'] as const),
  ...(['CopyStart', 'CopyEnd', 'MoveStart', 'MoveEnd', 'FetchTasks'] as const),
  ...(['PromotionAllocStart', 'NotifyPromotionSuccess', 'DynamicReplicaCopyStart'] as const),
];
const peer: Peer = {} as Peer;
const out = new ByteWriter();

/** A master that anybody may call with anything, in time that moves when told. */
export class HostileLife {
  readonly #random: SeededRandom;
  readonly #options: Partial<CoreOptions>;
  #core!: MasterCore;
  #clock!: FakeClock;
  #calls!: HostileCalls;
  #handlers!: ReturnType<typeof masterHandlers>;

  constructor(options: Partial<CoreOptions>, seed: number) {
    this.#random = new SeededRandom(seed);
    this.#options = options;
    this.#begin(undefined);
  }

  /** Anything happens. Throws when the core has broken a promise by it; the cause says which. */
  step(): void {
    const what = this.#draw();
    try {
      this.#act(what);
      this.#core.checkInvariants();
    } catch (error) {
      throw new Error(`after ${what}`, { cause: error });
    }
  }

  #begin(clock: FakeClock | undefined): void {
    const { isMultiTenant = false } = this.#options;
    const options = { putDiscardTimeoutMs: 5_000, putReleaseTimeoutMs: 20_000, ...this.#options };
    const made = coreForTests(options, clock === undefined ? {} : { clock });
    this.#core = made.core;
    this.#clock = made.clock;
    const quotas = { default: 500, a: 300, b: 2 ** 40 };
    made.core.tenantQuotas?.replace(new Map(Object.entries(quotas)));
    const handlers = masterHandlers({
      ...{ core: made.core, tallies: new CallTallies(), viewVersion: () => 1 },
      longWork: new LongWork(made.clock),
      ...{ onAllocated: () => undefined, onGracePeriod: () => undefined },
      storage: { fsdir: '', enableDiskEviction: true, quotaBytes: 0 },
    });
    this.#handlers = isMultiTenant ? guardTenants(handlers) : handlers;
    const tenants = isMultiTenant ? ['default', 'a', 'b', '', '_x', 'other'] : ['default'];
    this.#calls = new HostileCalls(this.#random, made.core, tenants);
  }

  #draw(): string {
    const few = ['time', 'sweep', 'evict', 'connection', 'report', 'drain'];
    if (this.#chance(8)) return few[below(this.#random, few.length)] as string;
    if (this.#chance(400)) return 'restore';
    const from = this.#chance(2) ? names : vitalNames;
    return from[below(this.#random, from.length)] as string;
  }

  #act(what: string): void {
    const calls = this.#calls;
    switch (what) {
      case 'time':
        calls.passTime(this.#clock);
        for (const client of calls.pinging()) this.#core.ping(client);
        return;
      case 'sweep':
        this.#core.sweep();
        return;
      case 'evict':
        this.#core.evict();
        return;
      case 'connection':
        if (this.#chance(6)) this.#core.clientDisconnected(calls.client());
        else this.#core.clientConnected(calls.client());
        return;
      case 'report':
        this.#core.reportEndpoints(calls.client(), calls.endpoints());
        return;
      case 'drain':
        if (this.#chance(20)) this.#core.drains.create(calls.drainRequest());
        this.#core.drains.step();
        return;
      case 'restore':
        this.#restart();
        return;
      default:
        this.#call(what as CallName);
    }
  }

  /** Another process goes on with what this one had. */
  #restart(): void {
    const { nextNumber } = this.#core.image();
    const image = { ...structuredClone(plain(this.#core.image())), nextNumber };
    this.#begin(this.#clock);
    this.#core.restore(image);
  }

  /** Whatever is answered can be written. */
  #call<N extends CallName>(name: N): void {
    const handler = this.#handlers[name] as (args: readonly unknown[], peer: Peer) => unknown;
    const args = this.#calls.argsOf(name);
    const result = handler(args, peer);
    this.#calls.heard(name, args, result);
    const { response } = (masterProtocol as Protocol)[name] as Protocol[string];
    encodeMessage(out, response, result);
    decodeMessage(new ByteReader(out.take()), response);
  }

  #chance(count: number): boolean {
    return below(this.#random, count) === 0;
  }
}

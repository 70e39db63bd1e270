import {
  type Address,
  type CancelSignal,
  type Clock,
  Fault,
  formatAddress,
  type Logger,
  type Random,
} from '@tsukimi/base';
import type { RpcCallOptions } from '@tsukimi/rpc';
import {
  type ArgsOf,
  ByteWriter,
  ClientStatus,
  ErrorCode,
  type Expected,
  errorName,
  type MasterProtocol,
  type ResultOf,
  type Segment,
  type Uuid,
  writeFailureReport,
} from '@tsukimi/wire';
import type { EndpointHealth } from './core/endpoint-health.ts';
import type { LifeOutcome } from './core/store-life.ts';
import type { MasterAddress } from './master-address.ts';
import { MasterCalls } from './master-calls.ts';
import { MasterFinder } from './master-finder.ts';

/** What a master must answer to ServiceReady, whatever its release. */
const serviceVersion = '2.0.0';

export interface MasterLinkOptions {
  readonly address: MasterAddress;
  readonly clientId: Uuid;
  readonly tenantId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** For calls of the life cycle. */
  readonly controlTimeoutMs: number;
  readonly health: EndpointHealth;
  /** Told when the master cannot be reached at all. */
  readonly onLost: (reason: string) => void;
}

/** How long a call may take: until a signal fires, or so many milliseconds. */
export type CallLimit = { readonly signal: CancelSignal } | { readonly timeoutMs: number };

/** Calls whose answers are one value or an error. */
type OneName = NameWhere<Expected<unknown>>;
/** Calls whose answers have a value or an error for each element of the request. */
type EachName = NameWhere<readonly Expected<unknown>[]>;
type NameWhere<R> = {
  [K in keyof MasterProtocol]: ResultOf<MasterProtocol[K]> extends R ? K : never;
}[keyof MasterProtocol];

/** The connection to the master, and the calls of a client's life cycle. Nothing rejects. */
export class MasterLink {
  readonly clientId: Uuid;
  readonly tenantId: string;
  readonly #options: MasterLinkOptions;
  readonly #finder: MasterFinder;
  /** To the master that was greeted last; null before any was found. */
  #client: MasterCalls | null = null;
  #masterName = '';
  #sharedDirectory = '';

  constructor(options: MasterLinkOptions) {
    this.clientId = options.clientId;
    this.tenantId = options.tenantId;
    this.#options = options;
    this.#finder = new MasterFinder(options.address, options);
    if (!('board' in options.address)) this.#turnTo(options.address);
  }

  /** Where files of objects lie that all clients share, as the master said last; empty for nowhere. */
  get sharedDirectory(): string {
    return this.#sharedDirectory;
  }

  close(): void {
    this.#client?.close();
    this.#finder.close();
  }

  /** Whether a master of our protocol answers, and which release of it. */
  async greet(signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      this.#turnTo(await this.#finder.find(signal));
      const ready = await this.#call('ServiceReady', [], { signal });
      if ('error' in ready) return refusal('ServiceReady', ready.error);
      if (ready.ok !== serviceVersion) {
        const reason = `it speaks version "${ready.ok}", not ${serviceVersion}; check the master's address`;
        return { kind: 'refused', reason };
      }
      await this.#client?.learnRelease({ signal });
      const config = await this.#call('GetStorageConfig', [], { signal });
      if ('error' in config) return refusal('GetStorageConfig', config.error);
      this.#sharedDirectory = config.ok.fsdir;
      return { kind: 'done' };
    });
  }

  async mount(segment: Segment, signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const done = await this.#call('MountSegment', [segment, this.clientId], { signal });
      return 'error' in done ? refusal('MountSegment', done.error) : { kind: 'done' };
    });
  }

  async remount(segments: readonly Segment[], signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const args = [segments, this.clientId] as const;
      const done = await this.#call('ReMountSegment', [...args], { signal });
      return 'error' in done ? refusal('ReMountSegment', done.error) : { kind: 'done' };
    });
  }

  async unmount(segmentId: Uuid, signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const args = [segmentId, this.clientId] as const;
      const done = await this.#call('UnmountSegment', [...args], { signal });
      return 'error' in done ? refusal('UnmountSegment', done.error) : { kind: 'done' };
    });
  }

  async ping(signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const pong = await this.#call('Ping', [this.clientId], { signal });
      if ('error' in pong) return refusal('Ping', pong.error);
      return { kind: pong.ok.clientStatus === ClientStatus.OK ? 'done' : 'need-remount' };
    });
  }

  /** The master's answer, or `RPC_TIMEOUT` or `RPC_FAIL` where there is none. */
  async ask<K extends OneName>(
    name: K,
    args: ArgsOf<MasterProtocol[K]>,
    limit: CallLimit,
  ): Promise<ResultOf<MasterProtocol[K]> | { readonly error: number }> {
    const answer = await this.askPlain(name, args, limit);
    return 'error' in answer ? answer : answer.ok;
  }

  /** One answer for each of `count` elements; no answer is the same error for all of them. */
  async askEach<K extends EachName>(
    name: K,
    count: number,
    args: ArgsOf<MasterProtocol[K]>,
    limit: CallLimit,
  ): Promise<ResultOf<MasterProtocol[K]> | readonly { readonly error: number }[]> {
    const answer = await this.askPlain(name, args, limit);
    if ('ok' in answer) {
      if (answer.ok.length === count) return answer.ok;
      const { logger } = this.#options;
      logger.warn('store.malformed_answer', { call: name, count: answer.ok.length });
    }
    const error = 'error' in answer ? answer.error : ErrorCode.RPC_FAIL;
    return Array.from({ length: count }, () => ({ error }));
  }

  /** For calls whose answers have no error of their own. */
  async askPlain<K extends keyof MasterProtocol>(
    name: K,
    args: ArgsOf<MasterProtocol[K]>,
    limit: CallLimit,
  ): Promise<Expected<ResultOf<MasterProtocol[K]>>> {
    // An operation brings its own limit with its signal.
    const options = 'signal' in limit ? { signal: limit.signal, timeoutMs: null } : limit;
    try {
      return { ok: await this.#call(name, args, options) };
    } catch (error) {
      const isCut = 'signal' in limit && limit.signal.aborted;
      if (Fault.has(error, 'PEER_UNREACHABLE')) this.#options.onLost(error.message);
      else if (isCut || Fault.has(error, 'DEADLINE_PASSED', 'CANCELLED')) {
        return { error: ErrorCode.RPC_TIMEOUT };
      } else if (Fault.has(error, 'UNSUPPORTED')) {
        return { error: ErrorCode.NOT_SUPPORTED };
      } else {
        this.#options.logger.warn('store.call_failed', { call: name, reason: String(error) });
      }
      return { error: ErrorCode.RPC_FAIL };
    }
  }

  /** From here on, calls go to the master at this address. */
  #turnTo(address: Address): void {
    const name = formatAddress(address);
    if (name === this.#masterName) return;
    this.#masterName = name;
    this.#client?.close();
    const { clock, logger, controlTimeoutMs } = this.#options;
    this.#client = new MasterCalls({
      address,
      clock,
      logger,
      connectTimeoutMs: controlTimeoutMs,
      callTimeoutMs: controlTimeoutMs,
    });
  }

  #call<K extends keyof MasterProtocol>(
    name: K,
    args: ArgsOf<MasterProtocol[K]>,
    options: RpcCallOptions,
  ): Promise<ResultOf<MasterProtocol[K]>> {
    if (this.#client === null) {
      return Promise.reject(new Fault('PEER_UNREACHABLE', 'no master was found yet'));
    }
    const appendix = args.length === 0 ? undefined : this.#report();
    return this.#client.call(
      name,
      args,
      appendix === undefined ? options : { ...options, appendix },
    );
  }

  /** What could not be read or written lately travels with whatever call is next. */
  #report(): Buffer | undefined {
    const endpoints = this.#options.health.takeFailed();
    if (endpoints.length === 0) return undefined;
    const out = new ByteWriter();
    writeFailureReport(out, { reporter: this.clientId, endpoints });
    return out.take();
  }

  async #control(act: () => Promise<LifeOutcome>): Promise<LifeOutcome> {
    try {
      return await act();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const answered = Fault.has(error, 'REFUSED', 'MALFORMED');
      return { kind: answered ? 'refused' : 'unreachable', reason };
    }
  }
}

function refusal(call: string, code: number): LifeOutcome {
  return { kind: 'refused', reason: `${call} answered ${errorName(code)}` };
}

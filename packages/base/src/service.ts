import { Fault } from './fault.ts';

/** A part of a process that lives from `start` to `stop`: a socket server, a sweeper, an engine. */
export interface Service {
  readonly name: string;
  /** Resolves once ready for work. Cleans up after itself when it rejects. */
  start(): Promise<void>;
  /** Resolves after `stop`; rejects if the service dies on its own. */
  ended(): Promise<void>;
  /** Refuses new work, finishes what it holds, and drops the rest when `deadline` fires. Harmless when repeated. */
  stop(deadline: AbortSignal): Promise<void>;
}

export interface RunOptions {
  /** Fires when the process should stop. */
  readonly until: AbortSignal;
  /** Called once stopping begins. */
  readonly stopDeadline: () => AbortSignal;
  /** Called once all services are ready. */
  readonly onReady?: () => void;
}

/** Starts in the order given, waits, and always stops what it started, newest first. */
export async function runServices(
  services: readonly Service[],
  options: RunOptions,
): Promise<void> {
  const started: Service[] = [];
  const failures: unknown[] = [];
  try {
    for (const service of services) {
      if (options.until.aborted) break;
      await service.start();
      started.push(service);
    }
    if (!options.until.aborted) options.onReady?.();
    await Promise.race([aborted(options.until), ...started.map((service) => service.ended())]);
  } catch (error) {
    failures.push(error);
  }
  const stopDeadline = options.stopDeadline();
  for (const service of started.reverse()) {
    // One stubborn service must not keep those below it from closing their sockets.
    await service.stop(stopDeadline).catch((error: unknown) => failures.push(error));
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, 'services did not end cleanly');
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The `ended()` promise of a service, settled by hand. */
export class Ending {
  readonly promise: Promise<void>;
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever never asks must not bring the process down as an unhandled rejection.
    this.promise.catch(() => {});
  }

  stopped(): void {
    this.#resolve();
  }

  died(error: unknown): void {
    this.#reject(error);
  }
}

/** Turns the errors of `listen` into one sentence that names the option that helps. */
export function listenFault(error: unknown, what: string, host: string, port: number): Fault {
  const code = (error as NodeJS.ErrnoException).code;
  const reason =
    code === 'EADDRINUSE'
      ? `port ${port} on ${host} is already in use; choose another with --port or stop what holds it`
      : code === 'EACCES'
        ? `port ${port} needs more rights than this user has; choose one above 1023 with --port`
        : code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND'
          ? `${host} is not an address of this machine; choose another with --host`
          : `cannot listen on ${host}:${port}: ${String(error)}`;
  return new Fault('MISCONFIGURED', `${what}: ${reason}`, { cause: error });
}

import type { Clock, Logger, Options, OptionValues, Random, Service } from '@tsukimi/base';

/** What a subcommand may touch of the world. */
export interface CommandContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Writes to standard output. */
  readonly print: (text: string) => void;
  /** Fires when the process is told to stop. */
  readonly stopRequested: AbortSignal;
  /** Runs services until the process is told to stop, then stops them within `shutdownTimeoutMs`. */
  readonly run: (services: readonly Service[], options: RunnerOptions) => Promise<void>;
  /** Of this program. */
  readonly version: string;
  /** Absolute path of the script that starts this program. */
  readonly programPath: string;
}

interface RunnerOptions {
  readonly shutdownTimeoutMs: number;
  readonly onReady?: () => void;
}

/** A subcommand: its options, and what it does with them. */
export interface Command {
  readonly options: Options;
  /** Parses nothing: gets checked values of `options`. */
  run(values: never, context: CommandContext): Promise<void>;
}

/** Keeps the types of options and of `run` together. */
export function defineCommand<O extends Options>(command: {
  readonly options: O;
  run(values: OptionValues<O>, context: CommandContext): Promise<void>;
}): Command {
  return command;
}

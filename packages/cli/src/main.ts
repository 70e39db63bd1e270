import cluster from 'node:cluster';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  describeOptions,
  Fault,
  LineLogger,
  loadOptions,
  runServices,
  SystemClock,
  SystemRandom,
} from '@tsukimi/base';
import type { CommandContext } from './command.ts';
import { commands } from './commands.ts';
import { exitCodes } from './exit-codes.ts';

const clock = new SystemClock();
const { version } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
) as { version: string };

const usage = `tsukimi ${version}: LLM serving with prefill and decode on separate instances that share one KVCache store

usage: tsukimi COMMAND [options]; tsukimi COMMAND --help explains each option

${commands.map(({ name, summary }) => `  ${name.padEnd(16)}${summary}`).join('\n')}
`;

/** Fires once when the process should stop; a second request means at once. */
const stopRequest = new AbortController();
const stopNow = new AbortController();

// Whatever still hangs after that, be it a start, must not keep the process: ports and memory are to be free.
stopNow.signal.addEventListener('abort', () => {
  clock.schedule(2_000, () => process.exit(exitCodes.failed));
});

function requestStop(): void {
  // A terminal tells a worker, and so does its parent, which also keeps the time.
  if (stopRequest.signal.aborted && !cluster.isWorker) stopNow.abort();
  stopRequest.abort();
}

function followSupervisor(): void {
  // The supervisor holds the other end. When it dies, however it dies, this end closes.
  process.stdin.resume();
  process.stdin.once('close', () => {
    stopRequest.abort();
    stopNow.abort();
  });
}

const context: CommandContext = {
  clock,
  version,
  random: new SystemRandom(),
  logger: new LineLogger(clock, (line) => process.stderr.write(line)),
  env: process.env,
  print: (text) => process.stdout.write(text),
  stopRequested: stopRequest.signal,
  programPath: fileURLToPath(new URL('../bin/tsukimi.js', import.meta.url)),
  run: (services, { shutdownTimeoutMs, onReady }) =>
    runServices(services, {
      until: stopRequest.signal,
      stopDeadline: () => {
        clock.schedule(shutdownTimeoutMs, () => stopNow.abort());
        return stopNow.signal;
      },
      ...(onReady === undefined ? {} : { onReady }),
    }),
};

async function main(argv: readonly string[]): Promise<number> {
  const [name] = argv;
  if (name === '--version') {
    context.print(`${version}\n`);
    return exitCodes.ok;
  }
  // Some names have two words.
  const found = commands.find((candidate) =>
    candidate.name.split(' ').every((word, index) => word === argv[index]),
  );
  if (found === undefined) {
    const asked = name === undefined || name === '--help' || name === '-h' || name === 'help';
    if (!asked) process.stderr.write(`tsukimi: unknown command "${name}"\n\n`);
    process.stderr.write(usage);
    return asked && name !== undefined ? exitCodes.ok : exitCodes.misconfigured;
  }
  const command = await found.load();
  const rest = argv.slice(found.name.split(' ').length);
  if (rest.some((argument) => argument === '--help' || argument === '-h')) {
    context.print(
      `tsukimi ${found.name}: ${found.summary}\n\n${describeOptions(command.options)}\n`,
    );
    return exitCodes.ok;
  }
  try {
    const values = loadOptions(command.options, {
      argv: rest,
      env: process.env,
      readFile: (path) => readFileSync(path, 'utf8'),
    });
    await command.run(values as never, context);
    return exitCodes.ok;
  } catch (error) {
    return report(found.name, error);
  }
}

function report(command: string, error: unknown): number {
  const expected = error instanceof Fault;
  const text = expected ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`tsukimi ${command}: ${text}\n`);
  return Fault.has(error, 'MISCONFIGURED', 'INVALID_ARGUMENT', 'UNSUPPORTED', 'NOT_FOUND')
    ? exitCodes.misconfigured
    : exitCodes.failed;
}

process.on('SIGINT', requestStop);
process.on('SIGTERM', requestStop);
// A closed terminal or pipe must not end a server in the middle of a write.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});
if (process.env['TSUKIMI_LIFELINE'] === 'stdin') followSupervisor();

process.exit(await main(process.argv.slice(2)));

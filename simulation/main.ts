/** `npm run simulate -- [--help]`: policies of the proxy on a trace, on a virtual clock. */
import { writeFileSync } from 'node:fs';
import { describeOptions, Fault, loadOptions, SeededRandom } from '@tsukimi/base';
import { makeTrace } from './made-trace.ts';
import { type SimulationOptions, simulationOptions } from './options.ts';
import { plot } from './plot.ts';
import { type Profile, readProfile } from './profile.ts';
import { type SweepRow, sweep } from './sweep.ts';
import { tables } from './tables.ts';
import { readTrace, seenBefore, type Trace } from './trace.ts';

function main(argv: readonly string[]): void {
  const options = loadOptions(simulationOptions, { argv, env: {} });
  if (options.help) {
    process.stdout.write(`${describeOptions(simulationOptions)}\n`);
    return;
  }
  const profile = readProfile(options.profile);
  const trace = traceOf(options, profile);
  const objective = {
    ttftMs: options.ttftMs ?? profile.objective.ttftMs,
    tpotMs: options.tpotMs ?? profile.objective.tpotMs,
  };
  const bound = seenBefore(trace);
  const head = [
    `Trace: ${trace.name}, ${trace.requests.length} requests. Seen before, the bound on any hit rate:`,
    `${(bound.blocks * 100).toFixed(1)} % of all blocks, ${(bound.tokens * 100).toFixed(1)} % of all tokens.`,
    `Profile: ${profile.name}. Objective: TTFT up to ${objective.ttftMs / 1_000} s and TPOT up to ${objective.tpotMs} ms. Seed ${options.seed}.`,
  ].join('\n');
  process.stdout.write(`${head}\n\n`);
  const rows: SweepRow[] = [];
  for (const row of sweep(trace, profile, objective, options)) {
    rows.push(row);
    process.stderr.write(
      `${row.instances} instances, ${row.store} store, load ${row.load}: ${row.policy}\n`,
    );
  }
  const text = tables(rows);
  process.stdout.write(text);
  const { json, markdown, plot: drawing, seed } = options;
  if (json !== undefined) {
    const content = { trace: trace.name, bound, profile: profile.name, objective, seed, rows };
    writeFileSync(json, `${JSON.stringify(content, null, 2)}\n`);
  }
  if (markdown !== undefined) writeFileSync(markdown, `${head}\n\n${text}`);
  if (drawing !== undefined) writeFileSync(drawing, plot(rows, `${trace.name}, ${profile.name}`));
}

/** About as many whole blocks as the published traces have. */
const madeBlockTokens = 512;

function traceOf(options: SimulationOptions, profile: Profile): Trace {
  if (options.trace !== undefined) {
    const trace = readTrace(options.trace);
    return { ...trace, requests: trace.requests.slice(0, options.requests) };
  }
  return makeTrace({
    requestCount: options.requests ?? 1_000,
    random: new SeededRandom(options.seed),
    blockTokens: madeBlockTokens,
    meanIntervalMs: 1_000,
    sharedPrefixCount: 8,
    turnTokensMean: 3_000,
    outputTokensMean: 300,
    inputTokensMax: Math.min(131_072, Math.floor(profile.kvTokens / 2)),
  });
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Fault)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

/**
 * The proxy beside the routers that people use, and beside vLLM's demo: same instances, same clients, same
 * run, each proxy on one core and the load on another. Rounds go over all of them in turn, so that a
 * noisy machine is noisy for all. `TSUKIMI_BENCH_BASE` adds another checkout of ours; `TSUKIMI_BENCH_ROUND_MS`
 * and `TSUKIMI_BENCH_ROUNDS` shorten or lengthen it; `TSUKIMI_BENCH_PEERS` names the peers to measure.
 */
import { Processes } from '../../e2e/processes.ts';
import { Contender, type ContenderName, routerNames } from './contenders.ts';
import { Driver, type Load, type Loaded } from './driver.ts';
import { type Figures, figuresOf, type Held, verdicts } from './verdicts.ts';

const roundMs = Number(process.env['TSUKIMI_BENCH_ROUND_MS'] ?? 4_000);
const roundCount = Number(process.env['TSUKIMI_BENCH_ROUNDS'] ?? 2);
const idleCount = 10_000;
const proxyCore = 0;
const loadCore = 1;

/** Only those with `demo` are measured at the demo too, which is too slow for the others. */
const loads: readonly { name: string; load: Load; demo?: boolean }[] = [
  { name: '16 clients', load: { kind: 'closed', clients: 16, promptBytes: 512 }, demo: true },
  { name: '64 clients', load: { kind: 'closed', clients: 64, promptBytes: 512 } },
  { name: '256 clients', load: { kind: 'closed', clients: 256, promptBytes: 512 } },
  { name: '32 KB prompt', load: { kind: 'closed', clients: 64, promptBytes: 32_768 } },
  { name: '200 a second', load: { kind: 'open', ratePerS: 200 } },
  { name: '1000 a second', load: { kind: 'open', ratePerS: 1_000 } },
  { name: 'streams', load: { kind: 'stream', clients: 64, tokens: 200, gapMs: 0 } },
  { name: 'paced streams', load: { kind: 'stream', clients: 128, tokens: 100, gapMs: 20 } },
];

/** A line for each load with the figures of each proxy, one for memory, then the verdicts. */
export async function* run(): AsyncGenerator<object> {
  await using processes = new Processes();
  const driver = await Driver.start(processes, loadCore);
  const contenders: Contender[] = [];
  for (const name of contenderNames()) {
    contenders.push(await Contender.start(name, processes, driver, proxyCore));
  }
  const byLoad = new Map<string, Map<string, Figures>>();
  for (const { name, load, demo } of loads) {
    const asked = contenders.filter((one) => demo === true || one.name !== 'demo');
    const figures = await measured(driver, asked, load);
    byLoad.set(name, figures);
    yield { benchmark: 'proxy', load: name, ...Object.fromEntries(figures) };
  }
  const held = await heldBy(driver, contenders);
  yield { benchmark: 'proxy', load: `${idleCount} idle connections`, ...held };
  for (const verdict of verdicts(byLoad, held['tsukimi'] as Held, idleCount)) {
    if (verdict.verdict === 'failed') process.exitCode = 1;
    yield verdict;
  }
}

function contenderNames(): ContenderName[] {
  const asked = process.env['TSUKIMI_BENCH_PEERS']?.split(',');
  const peers = [...routerNames, 'demo' as const].filter((name) => asked?.includes(name) ?? true);
  return ['tsukimi', ...(process.env['TSUKIMI_BENCH_BASE'] ? ['base' as const] : []), ...peers];
}

async function measured(
  driver: Driver,
  contenders: readonly Contender[],
  load: Load,
): Promise<Map<string, Figures>> {
  const rounds = new Map<string, { loaded: Loaded; cpuSeconds: number }[]>();
  const note = (name: string, loaded: Loaded, cpuSeconds: number) =>
    rounds.set(name, [...(rounds.get(name) ?? []), { loaded, cpuSeconds }]);
  for (const { address } of contenders) await driver.run([address], load, roundMs / 8);
  for (let round = 0; round < roundCount; round += 1) {
    const direct = [driver.prefill[0] as string, driver.decode[0] as string];
    note('direct', await driver.run(direct, load, roundMs / 2), 0);
    for (const contender of contenders) {
      const before = contender.cpuSeconds;
      const loaded = await driver.run([contender.address], load, roundMs);
      note(contender.name, loaded, contender.cpuSeconds - before);
    }
  }
  return new Map([...rounds].map(([name, all]) => [name, figuresOf(all)]));
}

/** Resident megabytes after the loads, and with many connections that do nothing. */
async function heldBy(driver: Driver, contenders: readonly Contender[]) {
  const held: Record<string, Held> = {};
  for (const contender of contenders) {
    const open = await driver.hold(contender.address, idleCount, 10_000);
    const { nowMb, mostMb } = contender.memory;
    held[contender.name] = { most_mb: mostMb, idle_mb: nowMb, open };
    await driver.release();
  }
  return held;
}

import { routerNames } from './contenders.ts';
import type { Loaded } from './driver.ts';

/** Of one proxy under one load, over all rounds. */
export interface Figures {
  readonly per_second: number;
  readonly cpu_ms_per_request: number;
  readonly tokens_per_cpu_second: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly failures: number;
  readonly failure: string;
}

interface Verdict {
  readonly target: string;
  /** Ours, and the best of the routers. */
  readonly ours: number;
  readonly best: number;
  readonly by: string;
  readonly ratio: number;
  /** `failed`: below what is acceptable at all. */
  readonly verdict: 'met' | 'missed' | 'failed';
}

export function figuresOf(rounds: readonly { loaded: Loaded; cpuSeconds: number }[]): Figures {
  const sum = (of: (round: (typeof rounds)[number]) => number) =>
    rounds.reduce((total, round) => total + of(round), 0);
  const requests = sum(({ loaded }) => loaded.requests);
  const cpuSeconds = sum((round) => round.cpuSeconds);
  return {
    per_second: Math.round(requests / sum(({ loaded }) => loaded.seconds)),
    cpu_ms_per_request: rounded((cpuSeconds * 1_000) / requests),
    tokens_per_cpu_second:
      cpuSeconds === 0 ? 0 : Math.round(sum(({ loaded }) => loaded.tokens) / cpuSeconds),
    p50_ms: rounded(sum(({ loaded }) => loaded.p50_ms) / rounds.length),
    p99_ms: rounded(sum(({ loaded }) => loaded.p99_ms) / rounds.length),
    failures: sum(({ loaded }) => loaded.failures),
    failure: rounds.find(({ loaded }) => loaded.failure !== '')?.loaded.failure ?? '',
  };
}

/** Ours against the best of the routers, under each load. */
export function verdicts(
  byLoad: ReadonlyMap<string, ReadonlyMap<string, Figures>>,
  mostMb: number,
): Verdict[] {
  const all: Verdict[] = [];
  const judge = (load: string, field: keyof Figures, more: boolean, target: number, least = 0) => {
    const figures = byLoad.get(load);
    const routers = routerNames.flatMap((name) => {
      const value = figures?.get(name)?.[field];
      return typeof value === 'number' ? [{ name, value }] : [];
    });
    const ours = Number(figures?.get('tsukimi')?.[field]);
    const sorted = routers.toSorted((a, b) => (more ? b.value - a.value : a.value - b.value));
    const [best] = sorted;
    if (best === undefined) return;
    // Above 1 is better than the best of them, whichever way the figure counts.
    const ratio = rounded(more ? ours / best.value : best.value / ours);
    const verdict = ratio >= target ? 'met' : ratio >= least ? 'missed' : 'failed';
    const name = `${load}: ${field} ${more ? '≥' : '≤'} ${target} × the best router`;
    all.push({ target: name, ours, best: best.value, by: best.name, ratio, verdict });
  };
  for (const load of ['16 clients', '64 clients', '256 clients', '32 KB prompt']) {
    judge(load, 'per_second', true, 1.2, 1);
    judge(load, 'cpu_ms_per_request', false, 1);
  }
  for (const load of ['200 a second', '1000 a second']) {
    judge(load, 'p50_ms', false, 1);
    judge(load, 'p99_ms', false, 1);
  }
  judge('streams', 'tokens_per_cpu_second', true, 1);
  judge('paced streams', 'tokens_per_cpu_second', true, 1);
  const demo = byLoad.get('16 clients')?.get('demo')?.per_second;
  const ours = byLoad.get('16 clients')?.get('tsukimi')?.per_second ?? 0;
  if (demo !== undefined) {
    const ratio = rounded(ours / demo);
    const verdict = ratio >= 10 ? 'met' : 'missed';
    all.push({
      target: '16 clients: ≥ 10 × the demo',
      ours,
      best: demo,
      by: 'demo',
      ratio,
      verdict,
    });
  }
  const verdict = mostMb <= 150 ? 'met' : mostMb <= 250 ? 'missed' : 'failed';
  all.push({
    ...{ target: 'at most 150 MB under all of it', ours: mostMb, best: 150, by: 'target' },
    ...{ ratio: rounded(150 / mostMb), verdict },
  });
  return all;
}

function rounded(value: number): number {
  return Number(value.toFixed(3));
}

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

/** Of one proxy after all loads: resident megabytes at most and while it holds idle connections, and how many of those. */
export interface Held {
  readonly most_mb: number;
  readonly idle_mb: number;
  readonly open: number;
}

interface Verdict {
  readonly judged: string;
  /** What is aimed at, and what is not acceptable at all. */
  readonly target: string;
  readonly fails: string;
  readonly ours: number;
  /** The best of the routers, and whose; null where ours is held against a number. */
  readonly best: number | null;
  readonly by: string | null;
  /** Above 1 is better than the best of them, whichever way the figure counts. */
  readonly ratio: number | null;
  readonly verdict: 'met' | 'missed' | 'failed';
}

const never = 'never';
const memoryMbTarget = 150;
const memoryMbMax = 250;

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

/** Ours against the best of the routers, under each load, and against what it must hold by itself. */
export function verdicts(
  byLoad: ReadonlyMap<string, ReadonlyMap<string, Figures>>,
  held: Held,
  idleCount: number,
): Verdict[] {
  const all: Verdict[] = [];
  const against = (
    judged: string,
    ours: number,
    best: { readonly name: string; readonly value: number } | undefined,
    terms: { readonly more: boolean; readonly target: number; readonly least?: number },
  ) => {
    if (best === undefined) return;
    const { more, target, least } = terms;
    const ratio = rounded(more ? ours / best.value : best.value / ours);
    const times = (count: number) => `${count} × the best router`;
    all.push({
      judged,
      target: `${more ? '≥' : '≤'} ${times(target)}`,
      fails: least === undefined ? never : `< ${times(least)}`,
      ...{ ours, best: best.value, by: best.name, ratio },
      verdict:
        ratio >= target ? 'met' : least === undefined || ratio >= least ? 'missed' : 'failed',
    });
  };
  const bestOf = (load: string, more: boolean, of: (figures: Figures) => number) => {
    const routers = routerNames.flatMap((name) => {
      const figures = byLoad.get(load)?.get(name);
      return figures === undefined ? [] : [{ name, value: of(figures) }];
    });
    return routers.toSorted((a, b) => (more ? b.value - a.value : a.value - b.value))[0];
  };
  const judge = (load: string, field: keyof Figures, more: boolean, target = 1, least?: number) => {
    const of = (figures: Figures) => Number(figures[field]);
    const ours = byLoad.get(load)?.get('tsukimi');
    if (ours === undefined) return;
    const terms = { more, target, ...(least === undefined ? {} : { least }) };
    against(`${load}: ${field}`, of(ours), bestOf(load, more, of), terms);
  };
  for (const load of ['16 clients', '64 clients', '256 clients', '32 KB prompt']) {
    judge(load, 'per_second', true, 1.2, 1);
    judge(load, 'cpu_ms_per_request', false);
  }
  for (const load of ['200 a second', '1000 a second']) {
    for (const field of ['p50_ms', 'p99_ms'] as const) {
      const direct = byLoad.get(load)?.get('direct');
      const ours = byLoad.get(load)?.get('tsukimi');
      if (direct === undefined || ours === undefined) continue;
      // Both legs called one after the other, without a proxy, take so long by themselves.
      const added = (figures: Figures) => rounded(Math.max(0.001, figures[field] - direct[field]));
      const best = bestOf(load, false, added);
      against(`${load}: added ${field}`, added(ours), best, { more: false, target: 1 });
    }
  }
  judge('streams', 'tokens_per_cpu_second', true);
  judge('paced streams', 'tokens_per_cpu_second', true);
  all.push(...againstDemo(byLoad.get('16 clients')), ...alone(byLoad, held, idleCount));
  return all;
}

function againstDemo(figures: ReadonlyMap<string, Figures> | undefined): Verdict[] {
  const demo = figures?.get('demo')?.per_second;
  const ours = figures?.get('tsukimi')?.per_second;
  if (demo === undefined || ours === undefined) return [];
  const ratio = rounded(ours / demo);
  return [
    {
      ...{ judged: '16 clients: per_second', target: '≥ 10 × the demo', fails: never },
      ...{ ours, best: demo, by: 'demo', ratio, verdict: ratio >= 10 ? 'met' : 'missed' },
    },
  ];
}

/** What others do is no measure for these. */
function alone(
  byLoad: ReadonlyMap<string, ReadonlyMap<string, Figures>>,
  { most_mb: mostMb, open }: Held,
  idleCount: number,
): Verdict[] {
  let failures = 0;
  for (const figures of byLoad.values()) failures += figures.get('tsukimi')?.failures ?? 0;
  const lost = idleCount - open;
  const nobody = { best: null, by: null, ratio: null };
  return [
    {
      ...{ judged: 'megabytes at most, under all of it', ours: mostMb, ...nobody },
      ...{ target: `≤ ${memoryMbTarget}`, fails: `> ${memoryMbMax}` },
      verdict: mostMb <= memoryMbTarget ? 'met' : mostMb <= memoryMbMax ? 'missed' : 'failed',
    },
    {
      ...{ judged: 'failed requests', target: '0', fails: '> 0', ours: failures, ...nobody },
      verdict: failures === 0 ? 'met' : 'failed',
    },
    {
      ...{ judged: `lost ones of ${idleCount} idle connections`, ours: lost, ...nobody },
      ...{ target: '0', fails: '> 0', verdict: lost === 0 ? 'met' : 'failed' },
    },
  ];
}

function rounded(value: number): number {
  return Number(value.toFixed(3));
}

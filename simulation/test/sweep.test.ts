import { loadOptions } from '@tsukimi/base';
import { policies } from '@tsukimi/proxy';
import { describe, expect, it } from 'vitest';
import { simulationOptions } from '../options.ts';
import { plot } from '../plot.ts';
import { sweep } from '../sweep.ts';
import { tables } from '../tables.ts';
import { publishedProfile, smallTrace } from './scenes.ts';

const names = Object.keys(policies);
const optionsOf = (...argv: string[]) => loadOptions(simulationOptions, { argv, env: {} });

describe('sweep', () => {
  it('runs all policies in every cluster, and shows each in tables and drawing', () => {
    const options = optionsOf('--instances', '2,4', '--stores', 'shared,none');
    const rows = [...sweep(smallTrace(4), publishedProfile, publishedProfile.objective, options)];
    expect(rows.map(({ policy }) => policy)).toEqual(Array.from({ length: 4 }, () => names).flat());
    expect(new Set(rows.map(({ answeredCount }) => answeredCount))).toEqual(new Set([300]));
    const text = tables(rows);
    expect(text.match(/^#### /gm)?.length).toBe(4);
    const drawing = plot(rows, 'a & b');
    for (const name of names) {
      expect(text.match(new RegExp(`^\\| ${name} `, 'gm'))?.length).toBe(4);
      expect(drawing).toContain(`>${name}</text>`);
    }
    expect(drawing).toContain('a &#38; b');
    expect(drawing).not.toContain('NaN');
    expect(drawing.match(/<polyline/g)?.length).toBe(2 * 2 * names.length);
  });

  it('offers the same load to clusters of every size', () => {
    const options = optionsOf('--instances', '4,8', '--policies', 'least_load', '--loads', '0.5');
    const [four, eight] = [
      ...sweep(smallTrace(5), publishedProfile, publishedProfile.objective, options),
    ];
    expect([four?.prefillCount, eight?.prefillCount]).toEqual([3, 6]);
    expect((eight?.requestsPerSecond ?? 0) / (four?.requestsPerSecond ?? 1)).toBeCloseTo(2, 6);
  });

  it('takes a policy for each leg, and names those that there are', () => {
    expect(optionsOf('--policies', 'random+least_load').policies).toEqual([
      { prefill: 'random', decode: 'least_load' },
    ]);
    expect(() => optionsOf('--policies', 'fastest')).toThrow(/round_robin/);
  });
});

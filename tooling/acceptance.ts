/**
 * `npm run acceptance -- NAME`: the full form of a suite whose smoke form runs with the tests.
 * `wire` fuzzes 10^6 frames and `core` plays 300 lives of 3,000 calls; the others do more and larger of
 * everything. Suites are named after their files, so that none is forgotten; where whole clusters of ours
 * have one of the same name, what is proven with the published Mooncake is `mooncake-NAME`.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

interface Suite {
  readonly project: 'unit' | 'e2e' | 'interop';
  readonly path: string;
}

const root = join(import.meta.dirname, '..');
const suites = new Map<string, Suite>();
for (const project of ['e2e', 'interop'] as const) {
  for (const file of readdirSync(join(root, project)).toSorted()) {
    const [, name] = new RegExp(`^(.+)\\.${project}\\.test\\.ts$`).exec(file) ?? [];
    if (name === undefined) continue;
    suites.set(suites.has(name) ? `mooncake-${name}` : name, {
      project,
      path: `${project}/${file}`,
    });
  }
}
suites.set('wire', { project: 'unit', path: 'packages/wire/test' });
suites.set('core', { project: 'unit', path: 'packages/master/test/core/hostile-calls.test.ts' });

const full = {
  ...{ TSUKIMI_FORM: 'full', FUZZ_FRAMES: '1000000' },
  ...{ FUZZ_SEEDS: '300', FUZZ_STEPS: '3000' },
};
const [name = ''] = process.argv.slice(2);
const suite = suites.get(name);
if (suite === undefined) {
  process.stderr.write(`usage: npm run acceptance -- ${[...suites.keys()].join('|')}\n`);
  process.exit(1);
}
const { status } = spawnSync(
  'npx',
  [
    ...['vitest', 'run', '--project', suite.project, suite.path],
    ...['--testTimeout', '900000', '--hookTimeout', '900000', '--reporter', 'verbose'],
  ],
  { cwd: root, stdio: 'inherit', env: { ...process.env, ...full } },
);
process.exit(status ?? 1);

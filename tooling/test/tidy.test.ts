import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/** Lowest layer first. A package may import only from rows that come before its own. */
const layers = [
  ['base'],
  ['wire', 'llama', 'openai-api', 'http'],
  ['rpc', 'metadata'],
  ['transfer'],
  ['master', 'store'],
  ['engine'],
  ['kv-connector'],
  ['instance', 'proxy'],
  ['cli'],
];
const rowOf = (name = ''): number => layers.findIndex((row) => row.includes(name));

const root = fileURLToPath(new URL('../..', import.meta.url));
const git = (...args: string[]): string[] =>
  execFileSync('git', args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 })
    .split('\n')
    .filter((line) => line !== '');
const tracked = git('ls-files', '--cached', '--others', '--exclude-standard').filter((path) =>
  existsSync(`${root}/${path}`),
);
const sources = tracked
  .filter((path) => /^packages\/[\w-]+\/src\/.*\.ts$/.test(path))
  .map((path) => ({
    path,
    owner: path.split('/')[1] as string,
    text: readFileSync(`${root}/${path}`, 'utf8'),
  }));
const tests = tracked
  .filter((path) => path.endsWith('.test.ts'))
  .map((path) => ({ path, text: readFileSync(`${root}/${path}`, 'utf8') }));
const importsOf = (text: string): string[] =>
  [...text.matchAll(/(?<!\.)\b(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
    (match) => match[1] as string,
  );

const directTimeOrChance =
  /\b(Date\.now|new Date\(\)|Math\.random|setTimeout|setInterval|performance\.now|AbortSignal\.timeout|randomBytes|randomUUID|randomInt|process\.hrtime)\b/;
const directProcess = /\bprocess\.(env|argv|on|once|exit)\b/;
const portFile = /\/(clock|random|main|testing)\.ts$|\/testing\//;

describe('tidy', () => {
  it('finds the sources', () => {
    expect(new Set(sources.map(({ owner }) => owner)).size).toBe(layers.flat().length);
  });

  it('gives every package a layer', () => {
    expect(sources.filter(({ owner }) => rowOf(owner) < 0)).toEqual([]);
  });

  it('keeps imports pointing down the layers', () => {
    const upward = sources.flatMap(({ path, owner, text }) =>
      importsOf(text)
        .map((target) => /^@tsukimi\/([\w-]+)/.exec(target)?.[1])
        .filter((target) => target !== undefined && target !== 'demo-model')
        .filter((target) => rowOf(target) >= rowOf(owner))
        .map((target) => `${path} imports ${target}`),
    );
    expect(upward).toEqual([]);
  });

  it('lets packages meet only at their doors', () => {
    const doors = /^@tsukimi\/[\w-]+(\/testing)?$/;
    const throughTheWall = [...sources, ...tests].flatMap(({ path, text }) =>
      importsOf(text)
        .filter((target) => target.startsWith('@tsukimi/') && !doors.test(target))
        .map((target) => `${path} imports ${target}`),
    );
    const testingInProduction = sources
      .filter(({ path }) => !portFile.test(path))
      .flatMap(({ path, text }) =>
        importsOf(text)
          .filter((target) => /^@tsukimi\/[\w-]+\/testing$/.test(target))
          .map((target) => `${path} imports ${target}`),
      );
    const climbing = sources.flatMap(({ path, text }) =>
      importsOf(text)
        .filter((target) => target.startsWith('..'))
        .map((target) => ({ target, depth: path.split('/').length - 4 }))
        .filter(({ target, depth }) => (target.match(/\.\.\//g)?.length ?? 0) > depth)
        .map(({ target }) => `${path} imports ${target}`),
    );
    expect([...throughTheWall, ...testingInProduction, ...climbing]).toEqual([]);
  });

  it('keeps every door a list of named exports', () => {
    const doors = sources.filter(({ path }) => path.endsWith('/src/index.ts'));
    const withLogic = doors
      .filter(({ text }) =>
        /export \*|^(const|function|class|let)\b|export (const|function|class)\b/m.test(text),
      )
      .map(({ path }) => path);
    expect(withLogic).toEqual([]);
    const withoutManual = doors
      .filter(({ text }) => !text.startsWith('/**'))
      .map(({ path }) => path);
    expect(withoutManual).toEqual([]);
  });

  it('lets time and chance in only through their ports', () => {
    const direct = sources
      .filter(({ path }) => !portFile.test(path))
      .filter(({ text }) => directTimeOrChance.test(text))
      .map(({ path }) => path);
    expect(direct).toEqual([]);
  });

  it('reads the environment and the command line in main alone', () => {
    const direct = sources
      .filter(({ path }) => !portFile.test(path))
      .filter(({ text }) => directProcess.test(text))
      .map(({ path }) => path);
    expect(direct).toEqual([]);
  });

  it('keeps waiting out of the cores', () => {
    const waiting = sources
      .filter(({ path }) => path.includes('/src/core/'))
      .filter(({ text }) =>
        /(?<!#)\b(?:await|async)\b|\bsetTimeout\b|from 'node:(net|http|fs)'/.test(text),
      )
      .map(({ path }) => path);
    expect(waiting).toEqual([]);
  });

  it('declares every workspace package that is imported', () => {
    const undeclared = sources.flatMap(({ path, owner, text }) => {
      const manifest = JSON.parse(
        readFileSync(`${root}/packages/${owner}/package.json`, 'utf8'),
      ) as {
        dependencies?: Record<string, string>;
        optionalDependencies?: Record<string, string>;
      };
      const declared = { ...manifest.dependencies, ...manifest.optionalDependencies };
      return (
        importsOf(text)
          .filter((target) => !target.startsWith('.') && !target.startsWith('node:'))
          .map((target) =>
            target
              .split('/')
              .slice(0, target.startsWith('@') ? 2 : 1)
              .join('/'),
          )
          .filter((target) => !(target in declared))
          // Test kits stand on the test runner, which the workspace declares once for all.
          .filter((target) => !(target === 'vitest' && portFile.test(path)))
          .map((target) => `${path} imports ${target}`)
      );
    });
    expect(undeclared).toEqual([]);
  });

  it('keeps files short enough to hold one idea', () => {
    const long = sources
      .map(({ path, text }) => ({ path, lines: text.split('\n').length }))
      .filter(({ lines }) => lines > 500)
      .map(({ path, lines }) => `${path}: ${lines} lines`);
    expect(long).toEqual([]);
  });

  it('skips no test', () => {
    const skipped = tests
      .filter(
        ({ path, text }) =>
          path !== 'tooling/test/tidy.test.ts' &&
          /\b(it|test|describe)\.(skip|only|todo)\b/.test(text),
      )
      .map(({ path }) => path);
    expect(skipped).toEqual([]);
  });
});

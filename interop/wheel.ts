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
  /** What its programs need in their environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Path of a program of the wheel, such as `mooncake_master`. */
  program(name: string): string;
}

/** The release that the wire reference was taken from. */
const currentRelease = '0.3.13.post1';

/** Releases whose programs need libraries of CUDA to start, on machines without CUDA too. */
const packagesOf: Readonly<Record<string, readonly string[]>> = {
  '0.3.12.post1': [
    'mooncake-transfer-engine-non-cuda==0.3.12.post1',
    'nvidia-cuda-runtime-cu12==12.9.79',
  ],
  '0.3.14': ['mooncake-transfer-engine-cuda13==0.3.14', 'nvidia-cuda-runtime==13.5.37'],
};

/** What 0.3.14 asks of the driver of a card; where there is none, each call says so. */
const driverCalls = `cuCtxGetCurrent cuCtxGetDevice cuCtxSetCurrent cuDeviceGet cuDeviceGetAttribute
  cuDeviceGetPCIBusId cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuGetErrorName cuGetErrorString
  cuInit cuMemAddressFree cuMemAddressReserve cuMemCreate cuMemExportToShareableHandle
  cuMemGetAddressRange_v2 cuMemGetAllocationGranularity cuMemGetHandleForAddressRange
  cuMemImportFromShareableHandle cuMemMap cuMemRelease cuMemRetainAllocationHandle cuMemSetAccess
  cuMemUnmap cuPointerGetAttribute cuPointerSetAttribute`;
const noDevice = 100;

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
    env: { LD_LIBRARY_PATH: libraryDirectories(directory).join(':') },
    program: (name) => programPath(directory, name),
  };
}

/**
 * The scripts of older releases start their native program as a child, which would outlive them: the program
 * itself is preferred where there is one.
 */
function programPath(directory: string, name: string): string {
  const native = join(packagesPath(directory), 'mooncake', name);
  if (!existsSync(native)) return join(directory, 'bin', name);
  chmodSync(native, 0o755);
  return native;
}

function packagesPath(directory: string): string {
  const [version] = readdirSync(join(directory, 'lib')).filter((entry) =>
    entry.startsWith('python'),
  );
  return join(directory, 'lib', version ?? '', 'site-packages');
}

function libraryDirectories(directory: string): string[] {
  const nvidia = join(packagesPath(directory), 'nvidia');
  return [join(nvidia, 'cuda_runtime', 'lib'), join(nvidia, 'cu13', 'lib'), standIn(directory)];
}

const standIn = (directory: string) => join(directory, 'lib', 'stand-in');

/** A libcuda.so.1 for machines without one. */
function compileDriver(directory: string): void {
  mkdirSync(standIn(directory), { recursive: true });
  const source = join(standIn(directory), 'cuda.c');
  const functions = driverCalls
    .split(/\s+/)
    .map((name) => `int ${name}(void) { return ${noDevice}; }`);
  writeFileSync(source, functions.join('\n'));
  const library = join(standIn(directory), 'libcuda.so.1');
  execFileSync('cc', ['-shared', '-fPIC', '-Wl,-soname,libcuda.so.1', '-o', library, source]);
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
    ...(packagesOf[release] ?? [`mooncake-transfer-engine-non-cuda==${release}`]),
  ]);
  if (release === '0.3.14') compileDriver(directory);
  writeFileSync(marker, '');
}

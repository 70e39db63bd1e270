import { join } from 'node:path';
import { Fault } from '@tsukimi/base';
import type { LlamaBackend, LlamaModel } from '../backend.ts';
import { readGgufHeader } from '../gguf.ts';
import { offThread } from './async-call.ts';
import { type Bindings, loadBindings } from './bindings.ts';
import { KoffiModel } from './model.ts';
import type { ModelPointer } from './structs.ts';

export interface KoffiLlamaBackendOptions {
  /** Where `libllama` and `libggml` of the exact release lie; those that npm installed when absent. */
  readonly libraryDirectory?: string;
}

/** llama.cpp through FFI, on the CPU. */
export class KoffiLlamaBackend implements LlamaBackend {
  readonly #bindings: Bindings;

  private constructor(bindings: Bindings) {
    this.#bindings = bindings;
  }

  /** Faults: UNSUPPORTED on a platform without libraries, MISCONFIGURED when they are missing or of another release. */
  static async open(options: KoffiLlamaBackendOptions = {}): Promise<KoffiLlamaBackend> {
    return new KoffiLlamaBackend(
      loadBindings(
        options.libraryDirectory ?? (await installedLibraries(process.platform, process.arch)),
      ),
    );
  }

  get version(): string {
    return this.#bindings.version;
  }

  async loadModel(path: string): Promise<LlamaModel> {
    // Missing and broken files are told apart before the library sees them: it has one answer for all.
    await readGgufHeader(path);
    const { call, errors } = this.#bindings;
    errors.take();
    const pointer = await offThread<ModelPointer | null>(call.llama_model_load_from_file, path, {
      ...call.llama_model_default_params(),
      n_gpu_layers: 0,
    });
    if (pointer === null) {
      throw new Fault(
        'MALFORMED',
        `${path}: llama.cpp cannot load this model: ${errors.take() || 'it gives no reason'}`,
      );
    }
    return new KoffiModel(this.#bindings, pointer);
  }
}

/** The directory of the libraries that npm installed for this platform. */
export async function installedLibraries(platform: string, arch: string): Promise<string> {
  const target = `${platform}-${arch}`;
  if (target !== 'linux-x64' && target !== 'linux-arm64') {
    throw new Fault(
      'UNSUPPORTED',
      `the built-in engine runs on Linux x64 and arm64 with glibc, this is ${target}; serve the model with another engine behind tsukimi proxy`,
    );
  }
  const name = `@node-llama-cpp/${target}`;
  try {
    const { getBinsDir } = (await import(name)) as { getBinsDir: () => { binsDir: string } };
    return join(getBinsDir().binsDir, target);
  } catch (error) {
    throw new Fault('MISCONFIGURED', `${name} is not installed; run npm ci`, { cause: error });
  }
}

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '@tsukimi/base';
import koffi from 'koffi';
import { batchType, contextParamsType, logType, modelParamsType, sizedTypes } from './structs.ts';

/** The one release whose header the declarations here follow. */
const llamaRelease = 'v0.5.0';
/** What `llama_version` of that release answers. */
const llamaVersion = '0.5.0-dev';

const { pointer, size } = sizedTypes;

/** Results and arguments by name of the C function, as `include/llama.h` has them at the release above. */
const signatures = {
  llama_version: ['str', []],
  llama_log_set: ['void', [koffi.pointer(logType), pointer]],
  llama_model_default_params: [modelParamsType, []],
  llama_context_default_params: [contextParamsType, []],
  llama_model_load_from_file: [pointer, ['str', modelParamsType]],
  llama_model_free: ['void', [pointer]],
  llama_model_get_vocab: [pointer, [pointer]],
  llama_model_desc: ['int32_t', [pointer, pointer, size]],
  llama_model_ftype: ['int32_t', [pointer]],
  llama_ftype_name: ['str', ['int32_t']],
  llama_model_size: ['uint64_t', [pointer]],
  llama_model_n_params: ['uint64_t', [pointer]],
  llama_model_n_ctx_train: ['int32_t', [pointer]],
  llama_model_n_layer: ['int32_t', [pointer]],
  llama_model_n_embd: ['int32_t', [pointer]],
  llama_model_n_swa: ['int32_t', [pointer]],
  llama_model_rope_type: ['int32_t', [pointer]],
  llama_model_rope_freq_scale_train: ['float', [pointer]],
  llama_model_is_recurrent: ['bool', [pointer]],
  llama_model_is_hybrid: ['bool', [pointer]],
  llama_model_has_decoder: ['bool', [pointer]],
  llama_model_chat_template: ['str', [pointer, 'str']],
  llama_vocab_n_tokens: ['int32_t', [pointer]],
  llama_vocab_bos: ['int32_t', [pointer]],
  llama_vocab_eos: ['int32_t', [pointer]],
  llama_vocab_is_eog: ['bool', [pointer, 'int32_t']],
  llama_vocab_get_add_bos: ['bool', [pointer]],
  llama_tokenize: ['int32_t', [pointer, pointer, 'int32_t', pointer, 'int32_t', 'bool', 'bool']],
  llama_token_to_piece: ['int32_t', [pointer, 'int32_t', pointer, 'int32_t', 'int32_t', 'bool']],
  llama_detokenize: ['int32_t', [pointer, pointer, 'int32_t', pointer, 'int32_t', 'bool', 'bool']],
  llama_init_from_model: [pointer, [pointer, contextParamsType]],
  llama_free: ['void', [pointer]],
  llama_n_ctx_seq: ['uint32_t', [pointer]],
  llama_get_memory: [pointer, [pointer]],
  llama_memory_seq_rm: ['bool', [pointer, 'int32_t', 'int32_t', 'int32_t']],
  llama_state_seq_get_size_ext: [size, [pointer, 'int32_t', 'uint32_t']],
  llama_state_seq_get_data_ext: [size, [pointer, pointer, size, 'int32_t', 'uint32_t']],
  llama_state_seq_set_data_ext: [size, [pointer, pointer, size, 'int32_t', 'uint32_t']],
  llama_decode: ['int32_t', [pointer, batchType]],
  llama_get_logits_ith: [pointer, [pointer, 'int32_t']],
  llama_sampler_chain_init: [pointer, [koffi.struct({ no_perf: 'bool' })]],
  llama_sampler_chain_add: ['void', [pointer, pointer]],
  llama_sampler_chain_get: [pointer, [pointer, 'int32_t']],
  llama_sampler_chain_remove: [pointer, [pointer, 'int32_t']],
  llama_sampler_accept: ['void', [pointer, 'int32_t']],
  llama_sampler_sample: ['int32_t', [pointer, pointer, 'int32_t']],
  llama_sampler_free: ['void', [pointer]],
  llama_sampler_init_penalties: [pointer, ['int32_t', 'int32_t', 'float', 'float', 'float']],
  llama_sampler_init_logit_bias: [pointer, ['int32_t', 'int32_t', pointer]],
  llama_sampler_init_top_k: [pointer, ['int32_t']],
  llama_sampler_init_top_p: [pointer, ['float', size]],
  llama_sampler_init_min_p: [pointer, ['float', size]],
  llama_sampler_init_temp: [pointer, ['float']],
  llama_sampler_init_greedy: [pointer, []],
  llama_sampler_init_dist: [pointer, ['uint32_t']],
} as const;

type Native = ReturnType<ReturnType<typeof koffi.load>['func']>;
type Functions = Readonly<Record<keyof typeof signatures, Native>>;

export interface Bindings {
  readonly version: string;
  readonly call: Functions;
  readonly errors: ErrorLines;
}

/** The last error lines of the library, which has no other way to say why something failed. */
class ErrorLines {
  #lines: string[] = [];

  add(line: string): void {
    this.#lines.push(line.trim());
    if (this.#lines.length > 8) this.#lines.shift();
  }

  /** The lines since the last call, in one. */
  take(): string {
    const text = this.#lines.join('; ');
    this.#lines = [];
    return text;
  }
}

// The library keeps its list of devices and its log callback for the whole process: loading twice
// would list every device twice.
const loaded = new Map<string, Bindings>();

/** Loads the libraries in a directory, once. Fault MISCONFIGURED or UNSUPPORTED with one sentence. */
export function loadBindings(directory: string): Bindings {
  const known = loaded.get(directory);
  if (known !== undefined) return known;
  const names = directoryNames(directory);
  const llamaName = `libllama.${llamaRelease}.so`;
  if (!names.includes(llamaName)) {
    const other = names.find((name) => name.startsWith('libllama.'));
    throw new Fault(
      'MISCONFIGURED',
      `llama.cpp ${llamaRelease} is needed, but ${directory} has ${other ?? 'no libllama'}; install the dependencies again with npm ci`,
    );
  }
  let bindings: Bindings;
  try {
    const ggml = koffi.load(join(directory, `libggml.${llamaRelease}.so`));
    const llama = koffi.load(join(directory, llamaName));
    bindings = bind(llama, directory, ggml);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault(
      'UNSUPPORTED',
      `llama.cpp in ${directory} cannot be loaded on this system (glibc is needed): ${String(error)}`,
      { cause: error },
    );
  }
  loaded.set(directory, bindings);
  return bindings;
}

type Library = ReturnType<typeof koffi.load>;

function bind(llama: Library, directory: string, ggml: Library): Bindings {
  const call = Object.fromEntries(
    Object.entries(signatures).map(([name, [result, parameters]]) => [
      name,
      llama.func(name, result, [...parameters]),
    ]),
  ) as Functions;
  const version = call.llama_version() as string;
  checkVersion(version);
  const errors = new ErrorLines();
  const errorLevel = 4;
  const log = koffi.register((level: number, text: string) => {
    if (level === errorLevel) errors.add(text);
  }, koffi.pointer(logType));
  call.llama_log_set(log, null);
  ggml.func('ggml_backend_load_all_from_path', 'void', ['str'])(`${directory}/`);
  return { version, call, errors };
}

/** Struct layouts are those of one release; with another one, calls would read and write at wrong places. */
export function checkVersion(version: string): void {
  if (version === llamaVersion) return;
  throw new Fault(
    'MISCONFIGURED',
    `llama.cpp ${llamaRelease} (${llamaVersion}) is needed, but the library says ${version}; install the dependencies again with npm ci`,
  );
}

function directoryNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    throw new Fault('MISCONFIGURED', `the llama.cpp libraries are not in ${directory}`, {
      cause: error,
    });
  }
}

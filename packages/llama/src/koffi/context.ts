import { assert, Fault } from '@tsukimi/base';
import koffi from 'koffi';
import type { Batch, ContextOptions, LlamaContext, SamplerChain } from '../backend.ts';
import { offThread } from './async-call.ts';
import type { Bindings } from './bindings.ts';
import { UseGuard } from './guard.ts';
import { KoffiSamplerChain } from './sampler-chain.ts';
import type { ContextPointer, MemoryPointer, ModelPointer } from './structs.ts';

/** Up to this a state is copied in about the time of a round trip through another thread: 0.1 ms. */
const synchronousByteCountMax = 1 << 20;
/** `llama_n_ctx_seq` is rounded up to this. */
const cellGranularity = 256;

export class KoffiContext implements LlamaContext {
  readonly slots: number;
  readonly cellsPerSlot: number;
  readonly batchTokens: number;
  readonly batch: Batch;
  readonly #bindings: Bindings;
  readonly #vocabularySize: number;
  readonly #pointer: ContextPointer;
  readonly #memory: MemoryPointer;
  readonly #guard = new UseGuard('a llama.cpp context');
  readonly #sequenceCounts: Int32Array;
  readonly #sequencePointers: BigUint64Array;
  /** The `llama_batch` passed by value; only `n_tokens` changes, the arrays stay where they are. */
  readonly #native: Record<string, number | bigint | null>;
  readonly #onClose: () => void;

  constructor(
    bindings: Bindings,
    model: ModelPointer,
    vocabularySize: number,
    options: ContextOptions,
    onClose: () => void,
  ) {
    const { slots, threads, batchTokens } = options;
    assert(slots >= 1 && batchTokens >= 1 && threads >= 1, 'a context has slots, rows and threads');
    this.#bindings = bindings;
    this.#vocabularySize = vocabularySize;
    this.#onClose = onClose;
    this.slots = slots;
    this.batchTokens = Math.max(batchTokens, slots);
    const cells = Math.ceil(options.cellsPerSlot / cellGranularity) * cellGranularity;
    const { call } = bindings;
    // Separate streams and no flash attention: then a sequence's numbers do not depend on what else
    // is computed beside it, nor on how its prompt is cut.
    this.#pointer = call.llama_init_from_model(model, {
      ...call.llama_context_default_params(),
      n_ctx: cells * slots,
      n_batch: this.batchTokens,
      // A batch is never cut at a size, which could leave a sequence with one row: see `LlamaContext.decode`.
      n_ubatch: this.batchTokens,
      n_seq_max: slots,
      n_outputs_max: slots,
      n_threads: threads,
      n_threads_batch: threads,
      flash_attn_type: 0,
      kv_unified: false,
      no_perf: true,
    }) as ContextPointer;
    if (this.#pointer === null) {
      throw new Fault(
        'NO_SPACE',
        `llama.cpp cannot open a context of ${slots} slots of ${cells} tokens; lower --max-num-seqs or --max-model-len: ${bindings.errors.take()}`,
      );
    }
    this.cellsPerSlot = call.llama_n_ctx_seq(this.#pointer) as number;
    this.#memory = call.llama_get_memory(this.#pointer) as MemoryPointer;
    // Memory that native code keeps the address of must lie outside of V8's moving heap, hence the explicit buffers.
    const rows = this.batchTokens;
    this.batch = {
      tokens: new Int32Array(new ArrayBuffer(4 * rows)),
      positions: new Int32Array(new ArrayBuffer(4 * rows)),
      sequences: new Int32Array(new ArrayBuffer(4 * rows)),
      outputs: new Int8Array(new ArrayBuffer(rows)),
    };
    this.#sequenceCounts = new Int32Array(new ArrayBuffer(4 * rows)).fill(1);
    this.#sequencePointers = new BigUint64Array(new ArrayBuffer(8 * rows));
    const base = koffi.address(this.batch.sequences);
    for (let row = 0; row < rows; row++) this.#sequencePointers[row] = base + BigInt(4 * row);
    this.#native = {
      n_tokens: 0,
      token: koffi.address(this.batch.tokens),
      embd: null,
      pos: koffi.address(this.batch.positions),
      n_seq_id: koffi.address(this.#sequenceCounts),
      seq_id: koffi.address(this.#sequencePointers),
      logits: koffi.address(this.batch.outputs),
    };
  }

  async decode(rowCount: number): Promise<void> {
    this.#checkBatch(rowCount);
    this.#native['n_tokens'] = rowCount;
    const { call, errors } = this.#bindings;
    const status = await this.#guard.use(() =>
      offThread<number>(call.llama_decode, this.#pointer, this.#native),
    );
    if (status === 0) return;
    throw new Fault(
      'INTERNAL',
      `llama_decode of ${rowCount} rows ended with ${status}: ${errors.take()}`,
      {
        details: { status },
      },
    );
  }

  sample(chain: SamplerChain, row: number): number {
    this.#guard.check();
    assert(chain instanceof KoffiSamplerChain, 'a chain of this backend samples');
    return this.#bindings.call.llama_sampler_sample(chain.pointer, this.#pointer, row) as number;
  }

  logits(row: number): Float32Array {
    this.#guard.check();
    const address: unknown = this.#bindings.call.llama_get_logits_ith(this.#pointer, row);
    return new Float32Array(koffi.view(address, 4 * this.#vocabularySize)).slice();
  }

  removeCells(sequence: number, from: number, to: number): void {
    this.#guard.check();
    this.#checkSequence(sequence);
    const removed = this.#bindings.call.llama_memory_seq_rm(
      this.#memory,
      sequence,
      from,
      to,
    ) as boolean;
    if (!removed) {
      throw new Fault('UNSUPPORTED', 'this model cannot forget a part of a sequence');
    }
  }

  stateByteCount(sequence: number): number {
    this.#guard.check();
    this.#checkSequence(sequence);
    return Number(this.#bindings.call.llama_state_seq_get_size_ext(this.#pointer, sequence, 0));
  }

  async exportState(sequence: number, into: Buffer): Promise<number> {
    const byteCount = this.stateByteCount(sequence);
    // The library ends the process when the buffer is too small.
    assert(into.length >= byteCount, 'an exported sequence fits its buffer');
    const { llama_state_seq_get_data_ext: native } = this.#bindings.call;
    const written =
      byteCount <= synchronousByteCountMax
        ? native(this.#pointer, into, byteCount, sequence, 0)
        : await this.#guard.use(() =>
            offThread(native, this.#pointer, into, byteCount, sequence, 0),
          );
    if (Number(written) !== byteCount) {
      throw new Fault('INTERNAL', `a sequence could not be exported: ${this.#errors()}`);
    }
    return byteCount;
  }

  async importState(sequence: number, from: Buffer): Promise<void> {
    this.#guard.check();
    this.#checkSequence(sequence);
    const { llama_state_seq_set_data_ext: native } = this.#bindings.call;
    const read =
      from.length <= synchronousByteCountMax
        ? native(this.#pointer, from, from.length, sequence, 0)
        : await this.#guard.use(() =>
            offThread(native, this.#pointer, from, from.length, sequence, 0),
          );
    if (Number(read) !== 0) return;
    this.removeCells(sequence, -1, -1);
    throw new Fault('MALFORMED', `a sequence could not be imported: ${this.#errors()}`);
  }

  close(): Promise<void> {
    return this.#guard.close(() => {
      this.#bindings.call.llama_free(this.#pointer);
      this.#onClose();
    });
  }

  #errors(): string {
    return this.#bindings.errors.take();
  }

  #checkSequence(sequence: number): void {
    assert(sequence >= 0 && sequence < this.slots, 'a sequence is one of the slots');
  }

  /** The library ends the process for most of these. */
  #checkBatch(rowCount: number): void {
    const { tokens, positions, sequences, outputs } = this.batch;
    assert(rowCount >= 1 && rowCount <= this.batchTokens, 'a batch has rows within its size');
    let outputCount = 0;
    for (let row = 0; row < rowCount; row++) {
      const token = tokens[row] as number;
      assert(token >= 0 && token < this.#vocabularySize, 'a row has a token of the vocabulary');
      const position = positions[row] as number;
      assert(position >= 0 && position < this.cellsPerSlot, 'a row lies within its slot');
      this.#checkSequence(sequences[row] as number);
      if (outputs[row] !== 0) outputCount++;
    }
    assert(outputCount <= this.slots, 'a batch has one output a slot at most');
  }
}

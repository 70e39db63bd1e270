import { loadOptions } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { parseKvTransferConfig } from '../src/kv-transfer-config.ts';
import { resolveModelPath } from '../src/model-path.ts';
import { serveNotices, serveOptions } from '../src/options.ts';

const load = (argv: string[], env: Record<string, string> = {}) =>
  loadOptions(serveOptions, { argv: ['--model', 'tsukimi-demo', ...argv], env });

describe('serveOptions', () => {
  it("takes the guide's command line in either spelling", () => {
    const config = '{"kv_connector":"MooncakeStoreConnector","kv_role":"kv_producer"}';
    for (const argv of [
      ['--max-model-len', '2048', '--gpu-memory-utilization', '0.8', '-tp', '2'],
      ['--max_model_len=2048', '--gpu_memory_utilization=0.8', '--tensor_parallel_size', '2'],
    ]) {
      const options = load([...argv, '--kv-transfer-config', config, '--port', '8100'], {
        MOONCAKE_CONFIG_PATH: './mooncake.json',
      });
      expect(options).toMatchObject({
        maxModelLen: 2048,
        gpuMemoryUtilization: 0.8,
        tensorParallelSize: 2,
        port: 8100,
        mooncakeConfig: './mooncake.json',
        sharedMemory: true,
      });
      expect(parseKvTransferConfig(options)?.role).toBe('kv_producer');
    }
  });

  it('explains in one line each what means something else here', () => {
    const notices = serveNotices(
      load(['--dtype', 'half', '--enforce-eager', '--tensor-parallel-size', '2']),
      { VLLM_USE_V1: '0', CUDA_VISIBLE_DEVICES: '1', VLLM_USE_MODELSCOPE: 'True' },
    );
    const named = ['--dtype', '--enforce-eager', '--tensor-parallel-size', 'VLLM_USE_V1'];
    for (const name of [...named, 'CUDA_VISIBLE_DEVICES', 'VLLM_USE_MODELSCOPE']) {
      expect(notices.filter((notice) => notice.startsWith(name)).length, name).toBe(1);
    }
    expect(notices.length).toBe(6);
    expect(serveNotices(load([]), {})).toEqual([]);
  });
});

describe('parseKvTransferConfig', () => {
  const role = 'kv_both';

  it('is null when nothing is to be shared', () => {
    expect(parseKvTransferConfig({})).toBeNull();
  });

  it('takes both fields alone, for shells in which JSON is awkward', () => {
    expect(
      parseKvTransferConfig(
        load(
          '--kv-transfer-config.kv_connector MooncakeStoreConnector --kv-transfer-config.kv_role kv_both'.split(
            ' ',
          ),
        ),
      ),
    ).toEqual({ role, ignoredFields: [] });
  });

  it('lists the fields that mean nothing here', () => {
    const text = `{"kv_connector":"MooncakeStoreConnector","kv_role":"${role}","kv_rank":0}`;
    expect(parseKvTransferConfig({ kvTransferConfig: text })?.ignoredFields).toEqual(['kv_rank']);
  });

  it.each([
    ['kv_connector: "NixlConnector"', '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'],
    ['kv_role: must be one of', '{"kv_connector":"MooncakeStoreConnector","kv_role":"both"}'],
    ['kv_connector', '{"kv_role":"kv_both"}'],
    ['JSON object', '{kv_role:'],
    ['JSON object', '[]'],
  ])('says "%s" of %s', (words, text) => {
    const attempt = () => parseKvTransferConfig({ kvTransferConfig: text });
    expect(attempt).toThrow('--kv-transfer-config');
    expect(attempt).toThrow(words);
  });
});

describe('resolveModelPath', () => {
  it('knows the bundled models and existing files', () => {
    const path = resolveModelPath('tsukimi-demo-1m');
    expect(path).toMatch(/\.gguf$/);
    expect(resolveModelPath(path)).toBe(path);
  });

  it.each(['Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4', './missing.gguf', 'toString'])(
    'refuses %s and says what works',
    (model) => {
      expect(() => resolveModelPath(model)).toThrow(/tsukimi-demo.*or the path of a GGUF file/);
    },
  );
});

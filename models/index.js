import { fileURLToPath } from 'node:url';

export const bundledModels = {
  'tsukimi-demo': fileURLToPath(new URL('tsukimi-demo-14m-q8_0.gguf', import.meta.url)),
  'tsukimi-demo-1m': fileURLToPath(new URL('tsukimi-demo-1m-q8_0.gguf', import.meta.url)),
};

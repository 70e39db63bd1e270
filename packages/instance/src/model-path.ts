import { statSync } from 'node:fs';
import { Fault } from '@tsukimi/base';
import { bundledModels } from '@tsukimi/demo-model';

/** The file behind `--model`: one that comes with Tsukimi, or a path. Fault INVALID_ARGUMENT says what works. */
export function resolveModelPath(model: string): string {
  if (Object.hasOwn(bundledModels, model)) {
    return bundledModels[model as keyof typeof bundledModels];
  }
  if (isFile(model)) return model;
  const works = `use ${Object.keys(bundledModels).join(', ')} or the path of a GGUF file`;
  if (/\.gguf$/i.test(model)) {
    throw new Fault('INVALID_ARGUMENT', `--model: there is no file ${model}; ${works}`);
  }
  if (/^[\w.-]+\/[\w.-]+$/.test(model)) {
    throw new Fault(
      'INVALID_ARGUMENT',
      `--model: "${model}" names a model of a hub, which is not downloaded; ${works}`,
    );
  }
  throw new Fault('INVALID_ARGUMENT', `--model: "${model}" is unknown; ${works}`);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

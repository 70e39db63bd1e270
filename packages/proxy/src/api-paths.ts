/** Generation, which has a prefill and a decode leg. */
const legPaths: readonly string[] = [
  '/v1/completions',
  '/v1/chat/completions',
  '/v1/responses',
  '/v1/messages',
  '/inference/v1/generate',
  '/generate',
];

/** Those that only one of vLLM and SGLang has are passed on where `--pass-through` names them. */
const namedOnly: readonly string[] = ['/inference/v1/generate', '/generate'];

/** Whether what is sent there goes through two instances; all else is the business of any one. */
export function hasLegs(path: string): boolean {
  return legPaths.includes(path);
}

/** Paths whose POST requests go to instances, beside what an operator names. */
export const passedPaths: readonly string[] = [
  ...legPaths.filter((path) => !namedOnly.includes(path)),
  '/v1/messages/count_tokens',
  '/v1/embeddings',
  '/tokenize',
  '/detokenize',
];

/** What a scripted instance says to a request: a function of the request alone, so that a test can tell what is right. */

type Body = Readonly<Record<string, unknown>>;

/** Who answers. */
export interface Answerer {
  readonly ours: boolean;
  readonly tellsTokenIds: boolean;
  readonly cachedTokenCount: number;
  readonly model: string;
  /** Of this answer alone. */
  readonly id: string;
  readonly created: number;
}

const tokenCountMax = 100_000;
/** The last id of every prompt, and none of any output. */
const endOfPrompt = 60_000;
const texts = [' w', ' "é,"', '月\n', ',"token_ids":[1],', '\\', ''] as const;
const halfOfCharacter = texts.indexOf('');

/**
 * Output token number `at` for a prompt: an id, and a text that needs care in JSON and UTF-8. Some tokens are
 * the first half of a character, which comes with the next one; they have no text.
 */
export function scriptedToken(prompt: string, at: number): { id: number; text: string } {
  const id = idOf(prompt, at);
  if (isHalf(prompt, at)) return { id, text: '' };
  if (isHalf(prompt, at - 1)) return { id, text: '🌕' };
  const text = texts[id % texts.length] as string;
  return { id, text: text === ' w' || text === '' ? ` w${id}` : text };
}

/** The whole text that an undisturbed instance gives. */
export function scriptedText(prompt: string, tokenCount: number): string {
  return Array.from({ length: tokenCount }, (_, at) => scriptedToken(prompt, at).text).join('');
}

function idOf(prompt: string, at: number): number {
  let id = 7 + at * 31;
  for (let index = 0; index < prompt.length; index += 1) {
    id = (Math.imul(id, 33) + prompt.charCodeAt(index)) >>> 0;
  }
  return id % 50_000;
}

/** Never two in a row. */
function isHalf(prompt: string, at: number): boolean {
  let count = 0;
  while (at - count >= 0 && idOf(prompt, at - count) % texts.length === halfOfCharacter) count += 1;
  return count % 2 === 1;
}

/** Why a real one would refuse what it is asked; null if it would not. */
export function flawOf(body: Body, answerer: Answerer): string | null {
  for (const name of ['max_tokens', 'max_completion_tokens']) {
    const limit = body[name] ?? 1;
    const isFit = Number.isInteger(limit) && Number(limit) > 0 && Number(limit) <= tokenCountMax;
    if (!isFit) return `${name} must be an integer from 1 to ${tokenCountMax}`;
  }
  const { resumed, tokens } = outputOf(body, answerer);
  const others = resumed.some((id, at) => tokens[at]?.id !== id);
  return others ? 'resumed with other tokens' : null;
}

/** An answer that is not streamed. */
export function wholeAnswer(path: string, body: Body, answerer: Answerer): object {
  const { text, usage } = outputOf(body, answerer);
  const asked = body['return_token_ids'] === true && !answerer.ours;
  const ids = asked ? { prompt_token_ids: Array.from({ length: 40 }, (_, at) => at) } : {};
  const choice = isChat(path)
    ? { message: { role: 'assistant', content: text } }
    : { text, ...ids };
  return {
    ...(isChat(path) ? ids : {}),
    ...{ id: answerer.id, created: answerer.created },
    choices: [{ index: 0, ...choice, finish_reason: 'length' }],
    usage,
  };
}

/** Each token an event, the finish reason with the last one; then usage if asked, then the end. */
export function streamFrames(path: string, body: Body, answerer: Answerer): string[] {
  const { prompt, resumed, tokens, usage } = outputOf(body, answerer);
  const { id, created, model, ours } = answerer;
  const head = { id, object: 'chunk', created, model };
  const asked = body['return_token_ids'] === true && answerer.tellsTokenIds;
  const ofPrompt = asked && !ours ? { prompt_token_ids: promptIds(prompt, resumed) } : {};
  const frames: string[] = [];
  const chunk = (content: object, ids: number[] | null, finish: string | null) => {
    const first = frames.length === 0 ? ofPrompt : {};
    const choice = {
      ...{ index: 0, ...content, finish_reason: finish },
      ...(isChat(path) ? {} : first),
      ...(asked && ids !== null ? { token_ids: ids } : {}),
    };
    frames.push(event({ ...head, ...(isChat(path) ? first : {}), choices: [choice] }));
  };
  if (isChat(path)) chunk({ delta: { role: 'assistant', content: '' } }, ours ? [] : null, null);
  // As vLLM's detokenizer does where a prompt of ids ends within a character.
  let spilled = !ours && isHalf(prompt, resumed.length - 1) ? prompt : '';
  tokens.forEach((token, at) => {
    if (at < resumed.length) return;
    const text = token.text === '' ? '' : spilled + token.text;
    if (text !== '') spilled = '';
    const content = isChat(path) ? { delta: { content: text } } : { text };
    chunk(content, [token.id], at === tokens.length - 1 ? 'length' : null);
  });
  const options = body['stream_options'] as { include_usage?: boolean } | null | undefined;
  if (options?.include_usage === true) frames.push(event({ ...head, choices: [], usage }));
  frames.push('data: [DONE]\n\n');
  return frames;
}

export function event(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

function outputOf(body: Body, { ours, cachedTokenCount }: Answerer) {
  const params = body['kv_transfer_params'] as { prompt_token_ids?: number[] } | null | undefined;
  const given = params?.prompt_token_ids ?? body['prompt'];
  const ids = !ours && Array.isArray(given) && given.includes(endOfPrompt) ? given : null;
  const prompt =
    ids === null
      ? JSON.stringify(body['prompt'] ?? body['messages'] ?? body['input'] ?? '')
      : promptOf(ids);
  const resume = body['tsukimi_resume'] as { output_token_ids?: number[] } | null | undefined;
  const resumed: readonly number[] =
    ids === null ? (resume?.output_token_ids ?? []) : ids.slice(ids.indexOf(endOfPrompt) + 1);
  const asked = Number(body['max_completion_tokens'] ?? body['max_tokens'] ?? 16);
  const count = asked + (ids === null ? 0 : resumed.length);
  const tokens = Array.from({ length: count }, (_, at) => scriptedToken(prompt, at));
  const usage = {
    prompt_tokens: prompt.length + (ids === null ? 0 : resumed.length),
    completion_tokens: asked,
    total_tokens: prompt.length + count,
    prompt_tokens_details: {
      cached_tokens: body['tsukimi_prefill_cached_tokens'] ?? cachedTokenCount,
    },
  };
  return { prompt, resumed, tokens, text: tokens.map(({ text }) => text).join(''), usage };
}

/** Each character an id; with `resumed` behind, as an engine takes a continuation. */
function promptIds(prompt: string, resumed: readonly number[]): number[] {
  const characters = Array.from({ length: prompt.length - 1 }, (_, at) => prompt.charCodeAt(at));
  return [...characters, endOfPrompt, ...resumed];
}

function promptOf(ids: readonly number[]): string {
  const text = String.fromCharCode(...ids.slice(0, ids.indexOf(endOfPrompt)));
  return text + (text.startsWith('"') ? '"' : ']');
}

function isChat(path: string): boolean {
  return path.endsWith('/chat/completions');
}

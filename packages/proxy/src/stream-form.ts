import { encodeSse, openAiError } from '@tsukimi/openai-api';
import { type ToldError, toldError } from './told-error.ts';

/** How an API's event stream comes to its end, and how it tells that it cannot. */
export interface StreamForm {
  /** Whether whole events, which end at `end`, hold the last one of the stream. */
  ends(frames: Buffer, end: number): boolean;
  /** What the instance says of its failure in one of the whole events, which end at `end`; null: nothing. */
  errorIn(frames: Buffer, end: number): ToldError | null;
  /** The event by which a client learns of a failure in the middle. */
  failure(message: string): string;
}

const code = 'stream_broken';

/** OpenAI's completions, and whatever is like them. */
const completions: StreamForm = {
  ends(bytes, end) {
    let at = end - 1;
    while (at >= 0 && (bytes[at] === 0x0a || bytes[at] === 0x0d)) at -= 1;
    // Most events end in a brace: one look is enough for them.
    if (bytes[at] !== 0x5d || bytes[at - 1] !== 0x45) return false;
    return /(^|\n)data: ?\[DONE\]$/.test(bytes.toString('latin1', Math.max(0, at - 16), at + 1));
  },
  errorIn: told(/(^|\n)(event: ?error\r?\n|data: ?\{ ?"(error": ?[{"]|object": ?"error"))/),
  failure: (message) => encodeSse(openAiError(502, message, { code })),
};

/** OpenAI's responses. No line of an event can be a part of its JSON, where line ends are escaped. */
const responses: StreamForm = {
  ends: (bytes, end) =>
    /(^|\n)event: ?(response\.(completed|failed|incomplete)|error)\r?\n/.test(
      bytes.toString('latin1', 0, end),
    ),
  errorIn: told(/(^|\n)event: ?(response\.failed|error)\r?\n/),
  failure: (message) => named('error', { type: 'error', code, message, param: null }),
};

/** Anthropic's messages. */
const messages: StreamForm = {
  ends: (bytes, end) =>
    /(^|\n)event: ?(message_stop|error)\r?\n/.test(bytes.toString('latin1', 0, end)),
  errorIn: told(/(^|\n)event: ?error\r?\n/),
  failure: (message) => named('error', { type: 'error', error: { type: 'api_error', message } }),
};

export function streamForm(path: string): StreamForm {
  if (path === '/v1/responses') return responses;
  return path === '/v1/messages' ? messages : completions;
}

/** Most pieces hold neither word, which is found out without making text of them. */
function told(pattern: RegExp): StreamForm['errorIn'] {
  return (bytes, end) => {
    if (!bytes.includes('error') && !bytes.includes('failed')) return null;
    const at = pattern.exec(bytes.toString('latin1', 0, end))?.index;
    if (at === undefined) return null;
    return toldError(/data: ?(.*)/.exec(bytes.toString('utf8', at, end))?.[1]?.trimEnd() ?? '');
  };
}

function named(event: string, data: object): string {
  return `event: ${event}\n${encodeSse(data)}`;
}

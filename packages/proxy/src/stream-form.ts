import { encodeSse, openAiError } from '@tsukimi/openai-api';

/** How an API's event stream comes to its end, and how it tells that it cannot. */
export interface StreamForm {
  /** Whether whole events, which end at `end`, hold the last one of the stream. */
  ends(frames: Buffer, end: number): boolean;
  /** Whether whole events, which end at `end`, hold one by which the instance says that it failed. */
  fails(frames: Buffer, end: number): boolean;
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
  fails: told(/(^|\n)(event: ?error\r?\n|data: ?\{ ?"(error": ?[{"]|object": ?"error"))/),
  failure: (message) => encodeSse(openAiError(502, message, { code })),
};

/** OpenAI's responses. No line of an event can be a part of its JSON, where line ends are escaped. */
const responses: StreamForm = {
  ends: (bytes, end) =>
    /(^|\n)event: ?(response\.(completed|failed|incomplete)|error)\r?\n/.test(
      bytes.toString('latin1', 0, end),
    ),
  fails: told(/(^|\n)event: ?(response\.failed|error)\r?\n/),
  failure: (message) => named('error', { type: 'error', code, message, param: null }),
};

/** Anthropic's messages. */
const messages: StreamForm = {
  ends: (bytes, end) =>
    /(^|\n)event: ?(message_stop|error)\r?\n/.test(bytes.toString('latin1', 0, end)),
  fails: told(/(^|\n)event: ?error\r?\n/),
  failure: (message) => named('error', { type: 'error', error: { type: 'api_error', message } }),
};

export function streamForm(path: string): StreamForm {
  if (path === '/v1/responses') return responses;
  return path === '/v1/messages' ? messages : completions;
}

/** Most pieces hold neither word, which is found out without making text of them. */
function told(pattern: RegExp): StreamForm['fails'] {
  return (bytes, end) =>
    (bytes.includes('error') || bytes.includes('failed')) &&
    pattern.test(bytes.toString('latin1', 0, end));
}

function named(event: string, data: object): string {
  return `event: ${event}\n${encodeSse(data)}`;
}

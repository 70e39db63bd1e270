/** A plain HTTP client of the OpenAI API that keeps what tests look at. */

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly finishReason: string | null;
  readonly tokenIds: readonly number[];
  readonly usage: Usage | null;
  /** Anything that is not an ordinary whole answer: an error body, an error event, a cut stream. */
  readonly failure: string | null;
}

interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: {
    readonly cached_tokens?: number;
    readonly decode_loaded_tokens?: number;
  };
}

interface Choice {
  readonly text?: string;
  readonly message?: { readonly content: string };
  readonly delta?: { readonly content?: string };
  readonly finish_reason: string | null;
  readonly token_ids?: readonly number[];
}

interface Body {
  readonly choices?: readonly Choice[];
  readonly usage?: Usage | null;
  readonly error?: { readonly message: string };
}

const textOf = (choice: Choice): string =>
  choice.text ?? choice.message?.content ?? choice.delta?.content ?? '';

export interface AskOptions {
  readonly path?: '/v1/completions' | '/v1/chat/completions';
  readonly signal?: AbortSignal;
  /** Called after each SSE event of a stream. */
  readonly onEvent?: (index: number) => void;
}

/** Sends one request and reads the answer to its end; never throws for what the server did. */
export async function ask(
  url: string,
  body: Readonly<Record<string, unknown>>,
  options: AskOptions = {},
): Promise<Answer> {
  const failed = (status: number, failure: string): Answer => ({
    ...{ status, text: '', finishReason: null, tokenIds: [], usage: null, failure },
  });
  let response: Response;
  try {
    response = await fetch(`${url}${options.path ?? '/v1/completions'}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(
        body['stream'] === true ? { ...body, stream_options: { include_usage: true } } : body,
      ),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    if (!response.ok) return failed(response.status, await response.text());
    if (body['stream'] === true) return await readStream(response, options);
    const json = (await response.json()) as Body;
    const choice = json.choices?.[0];
    if (choice === undefined) return failed(response.status, JSON.stringify(json));
    return {
      status: response.status,
      text: textOf(choice),
      finishReason: choice.finish_reason,
      tokenIds: choice.token_ids ?? [],
      usage: json.usage ?? null,
      failure: null,
    };
  } catch (error) {
    return failed(
      0,
      `${String(error)} ${((error as Error).cause as Error | undefined)?.message ?? ''}`,
    );
  }
}

async function readStream(response: Response, options: AskOptions): Promise<Answer> {
  let text = '';
  let finishReason: string | null = null;
  let usage: Usage | null = null;
  let failure: string | null = 'the stream ended without [DONE]';
  const tokenIds: number[] = [];
  let pending = '';
  let index = 0;
  const decoder = new TextDecoder();
  try {
    for await (const bytes of response.body as AsyncIterable<Uint8Array>) {
      pending += decoder.decode(bytes, { stream: true });
      const frames = pending.split('\n\n');
      pending = frames.pop() ?? '';
      for (const frame of frames) {
        const data = frame.replace(/^data: /, '');
        if (data === '[DONE]') {
          failure = null;
          continue;
        }
        const body = JSON.parse(data) as Body;
        if (body.error !== undefined) return { ...answer(), failure: body.error.message };
        usage = body.usage ?? usage;
        for (const choice of body.choices ?? []) {
          text += textOf(choice);
          finishReason = choice.finish_reason ?? finishReason;
          tokenIds.push(...(choice.token_ids ?? []));
        }
        options.onEvent?.(index++);
      }
    }
  } catch (error) {
    failure = `the stream broke: ${String(error)}`;
  }
  return answer();

  function answer(): Answer {
    return { status: response.status, text, finishReason, tokenIds, usage, failure };
  }
}

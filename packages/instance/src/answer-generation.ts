import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type Clock, deadline, Fault, orAborted } from '@tsukimi/base';
import type { GeneratedPiece, GenerationEnd, GenerationEvent } from '@tsukimi/engine';
import { isEnd } from '@tsukimi/engine';
import {
  type AnswerHead,
  answerChunk,
  encodeSse,
  type GenerationRequest,
  openAiErrorOf,
  sseDone,
  usageChunk,
  usageOf,
  wholeAnswer,
} from '@tsukimi/openai-api';
import type { InstanceMetrics } from './instance-metrics.ts';

/** A client that reads nothing for so long has given up; it would hold a slot for ever. */
const unreadMs = 30_000;

export interface Generation {
  readonly head: AnswerHead;
  readonly request: GenerationRequest;
  readonly promptTokens: Int32Array;
  /** Of the prompt's whole chunks; null where nobody asked. */
  readonly chunkKeys: readonly string[] | null;
  readonly events: AsyncIterable<GenerationEvent>;
  readonly response: ServerResponse;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly metrics: InstanceMetrics;
}

/**
 * Tells a generation to its client, whole or as a stream. Rejects with a fault as long as nothing is
 * sent; later a failure ends the stream with an event that tells of it, and no `[DONE]`.
 */
export async function answerGeneration(generation: Generation): Promise<void> {
  const { request } = generation;
  if (request.stream) await answerStream(generation);
  else await answerWhole(generation);
}

async function answerWhole(generation: Generation): Promise<void> {
  const { head, request, promptTokens, chunkKeys, response } = generation;
  const tokens = [...request.resumeTokens];
  let text = '';
  for await (const event of measured(generation)) {
    if (!isEnd(event)) {
      text += event.text;
      tokens.push(...event.tokens);
      continue;
    }
    checkNotAborted(event);
    const ids = request.returnTokenIds
      ? { tokenIds: tokens, promptTokenIds: [...promptTokens] }
      : {};
    const body = JSON.stringify({
      ...wholeAnswer(
        head,
        { text, finishReason: event.finishReason, stopReason: event.stopReason, ...ids },
        usageOf({ ...event, prefillCachedTokens: request.prefillCachedTokens }),
      ),
      ...(chunkKeys === null ? {} : { tsukimi_chunk_keys: chunkKeys }),
    });
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  }
}

async function answerStream(generation: Generation): Promise<void> {
  const { head, request, promptTokens, response } = generation;
  // Every chunk of a stream that tells usage at its end has the field, as OpenAI's does.
  const usage = request.includeUsage ? null : undefined;
  const resumed = request.resumeTokens.length > 0;
  let promptIds = request.returnTokenIds && !resumed ? [...promptTokens] : undefined;
  const open = async () => {
    response.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-cache',
      'X-Accel-Buffering': 'no',
    });
    // What follows is the rest of a message whose role is known already.
    if (head.kind !== 'chat' || resumed) return;
    const opening = { text: null, finishReason: null, promptTokenIds: promptIds };
    promptIds = undefined;
    await write(generation, encodeSse(answerChunk(head, opening, usage)));
  };
  try {
    for await (const event of measured(generation)) {
      if (isEnd(event)) checkNotAborted(event);
      if (!response.headersSent) await open();
      const piece = isEnd(event)
        ? { text: '', ...event, tokens: [] }
        : { ...event, finishReason: null };
      // Ids are told as they come, though the text may wait for the rest of a character.
      if (piece.text === '' && piece.finishReason === null && !request.returnTokenIds) continue;
      const chunk = answerChunk(
        head,
        {
          text: piece.text,
          finishReason: piece.finishReason,
          stopReason: isEnd(event) ? event.stopReason : null,
          tokenIds: request.returnTokenIds ? piece.tokens : undefined,
          promptTokenIds: promptIds,
        },
        usage,
      );
      promptIds = undefined;
      await write(generation, encodeSse(chunk));
      if (isEnd(event) && request.includeUsage) {
        const figures = { ...event, prefillCachedTokens: request.prefillCachedTokens };
        await write(generation, encodeSse(usageChunk(head, usageOf(figures))));
      }
    }
    response.end(sseDone);
  } catch (error) {
    if (!response.headersSent) throw error;
    // Whoever does not read would not read this either.
    if (response.writableNeedDrain) response.destroy();
    else response.end(encodeSse(openAiErrorOf(error).body));
  }
}

/** Resolves when the socket has room again: the engine's next event is not taken before. */
async function write(generation: Generation, frame: string): Promise<void> {
  const { response, signal, clock } = generation;
  signal.throwIfAborted();
  if (response.write(frame)) return;
  using limit = deadline(clock, unreadMs, 'a client that reads nothing', signal);
  await orAborted(once(response, 'drain', { signal: limit.signal }), limit.signal);
}

/** An engine that is stopping cuts its generations short; that is no answer. */
function checkNotAborted({ finishReason }: GenerationEnd): void {
  if (finishReason === 'abort') {
    throw new Fault('OVERLOADED', 'the instance is shutting down and gave this request up');
  }
}

/** Passes events on and takes their times. */
async function* measured({
  events,
  clock,
  metrics,
}: Generation): AsyncIterable<GeneratedPiece | GenerationEnd> {
  const startMs = clock.monotonicMs();
  let firstMs: number | null = null;
  let lastMs = startMs;
  let tokenCount = 0;
  for await (const event of events) {
    const nowMs = clock.monotonicMs();
    if (isEnd(event)) {
      metrics.finished.add(1, event.finishReason);
      metrics.requestS.observe((nowMs - startMs) / 1_000);
      if (firstMs !== null && tokenCount > 1) {
        metrics.perOutputTokenS.observe((lastMs - firstMs) / 1_000 / (tokenCount - 1));
      }
    } else if (event.tokens.length > 0) {
      if (firstMs === null) metrics.firstTokenS.observe((nowMs - startMs) / 1_000);
      else metrics.tokenGapS.observe((nowMs - lastMs) / 1_000);
      firstMs ??= nowMs;
      lastMs = nowMs;
      tokenCount += event.tokens.length;
    }
    yield event;
  }
}

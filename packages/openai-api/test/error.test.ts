import { Fault } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { openAiErrorOf } from '../src/error.ts';

describe('openAiErrorOf', () => {
  it('tells the field and the code of a refused request', () => {
    const fault = new Fault('NOT_FOUND', 'no such model', {
      details: { param: 'model', code: 'model_not_found' },
    });
    expect(openAiErrorOf(fault)).toEqual({
      status: 404,
      headers: {},
      body: {
        error: {
          message: 'no such model',
          type: 'invalid_request_error',
          param: 'model',
          code: 'model_not_found',
        },
      },
    });
  });

  it('asks the client back when a limit is reached', () => {
    const answer = openAiErrorOf(new Fault('OVERLOADED', 'the queue is full'));
    expect([answer.status, answer.headers]).toEqual([503, { 'Retry-After': '1' }]);
  });

  it('keeps the words of an unexpected error to itself', () => {
    expect(JSON.stringify(openAiErrorOf(new Error('secret')))).not.toContain('secret');
  });
});

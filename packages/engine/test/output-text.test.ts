import { describe, expect, it } from 'vitest';
import { OutputText } from '../src/output-text.ts';

const bytes = (text: string) => Buffer.from(text);

describe('OutputText', () => {
  it('holds a character back until all its bytes are there', () => {
    const text = new OutputText([]);
    const moon = bytes('月');
    expect(text.push(moon.subarray(0, 1)).text).toBe('');
    expect(text.push(moon.subarray(1, 2)).text).toBe('');
    expect(text.push(Buffer.concat([moon.subarray(2), bytes('!')])).text).toBe('月!');
    text.push(moon.subarray(0, 2));
    expect(text.flush()).toBe('');
  });

  it('finds a stop string across tokens and shows only what is before it', () => {
    const text = new OutputText(['\n\n', 'END']);
    expect(text.push(bytes('one\n'))).toEqual({ text: 'one', stop: null });
    expect(text.push(bytes('E'))).toEqual({ text: '\n', stop: null });
    expect(text.push(bytes('N'))).toEqual({ text: '', stop: null });
    expect(text.push(bytes('Dless'))).toEqual({ text: '', stop: 'END' });
  });

  it('shows what looked like a stop string when it is none', () => {
    const text = new OutputText(['aab']);
    expect(text.push(bytes('xaa')).text).toBe('x');
    expect(text.push(bytes('a')).text).toBe('a');
    expect(text.push(bytes('c')).text).toBe('aac');
    expect(text.push(bytes('aa')).text).toBe('');
    expect(text.flush()).toBe('aa');
  });

  it('takes the first stop string in the text, and none while they do not count', () => {
    const text = new OutputText(['late', 'er']);
    expect(text.push(bytes('later'), false)).toEqual({ text: 'later', stop: null });
    expect(text.push(bytes('her later'))).toEqual({ text: 'h', stop: 'er' });
  });
});

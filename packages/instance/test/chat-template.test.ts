import { describe, expect, it } from 'vitest';
import { ChatTemplate } from '../src/chat-template.ts';

const chat = {
  messages: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hi' },
  ],
  addGenerationPrompt: true,
  templateArguments: {},
};

describe('ChatTemplate', () => {
  it("renders the model's own template, whose constants the client cannot change", () => {
    const template = new ChatTemplate({
      source:
        '{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}{% if polite %} please{% endif %}',
      bosText: '<s>',
      eosText: '</s>',
    });
    const templateArguments = { polite: true, bos_token: 'X', messages: [] };
    expect(template.render({ ...chat, templateArguments })).toBe(
      '<s>[system] Be brief.</s>[user] Hi</s> please',
    );
  });

  it('falls back to ChatML', () => {
    const template = new ChatTemplate({ source: null, bosText: '', eosText: '' });
    expect(template.render(chat)).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    );
  });

  it("turns a template's refusal into a bad field", () => {
    const template = new ChatTemplate({
      source: "{{ raise_exception('roles must alternate') }}",
      bosText: '',
      eosText: '',
    });
    expect(() => template.render(chat)).toThrow(/messages: .*roles must alternate/);
  });

  it('leaves a template that cannot be read to those who ask for a chat', () => {
    const template = new ChatTemplate({ source: '{% if %}', bosText: '', eosText: '' });
    expect(() => template.render(chat)).toThrow(/cannot be read.*\/v1\/completions/);
  });
});

import { Template } from '@huggingface/jinja';
import { Fault } from '@tsukimi/base';
import { badField, type ChatRequest } from '@tsukimi/openai-api';

/** The form of ChatML, for models that bring no template of their own. */
const chatMl =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

export interface ChatTemplateOptions {
  /** Jinja, as in `tokenizer.chat_template`; null takes ChatML. */
  readonly source: string | null;
  readonly bosText: string;
  readonly eosText: string;
}

/** Turns the messages of a chat into the text that the model was trained on. */
export class ChatTemplate {
  readonly #template: Template | Error;
  readonly #constants: Readonly<Record<string, string>>;

  constructor({ source, bosText, eosText }: ChatTemplateOptions) {
    this.#template = parsed(source ?? chatMl);
    this.#constants = { bos_token: bosText, eos_token: eosText };
  }

  /**
   * Faults: INVALID_ARGUMENT when the template refuses, for example two messages of one role in a row,
   * UNSUPPORTED when the template itself is beyond us; the model's completions still work then.
   */
  render(
    chat: Pick<ChatRequest, 'messages' | 'addGenerationPrompt' | 'templateArguments'>,
  ): string {
    if (this.#template instanceof Error) {
      throw new Fault(
        'UNSUPPORTED',
        `the model's chat template cannot be read: ${this.#template.message}; use /v1/completions`,
      );
    }
    try {
      return this.#template.render({
        ...chat.templateArguments,
        ...this.#constants,
        messages: chat.messages,
        add_generation_prompt: chat.addGenerationPrompt,
      });
    } catch (error) {
      throw badField(
        'messages',
        `messages: the model's chat template refuses them: ${(error as Error).message}`,
      );
    }
  }
}

function parsed(source: string): Template | Error {
  try {
    return new Template(source);
  } catch (error) {
    return error as Error;
  }
}

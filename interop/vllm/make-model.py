"""Writes a tiny random Qwen2 with a tokenizer of its own: `make-model.py DIRECTORY`. Nothing is downloaded."""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

directory = sys.argv[1]

# Bytes as the alphabet and a few merges: any text has tokens.
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(
    ["the moon rises over the lake and the lake keeps the light of the moon " * 8],
    trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|end|>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ),
)
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
fast.chat_template = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
fast.save_pretrained(directory)

# Weights far larger than a trained model's, in 32 bits: what comes next depends on the whole prompt, and no
# rounding decides it, so that a wrong byte of KV shows in the text.
torch.manual_seed(7)
config = Qwen2Config(
    vocab_size=512,
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=2048,
    tie_word_embeddings=False,
    eos_token_id=fast.eos_token_id,
    pad_token_id=fast.pad_token_id,
    initializer_range=0.25,
    torch_dtype=torch.float32,
)
Qwen2ForCausalLM(config).to(torch.float32).save_pretrained(directory, safe_serialization=True)
